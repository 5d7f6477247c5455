"""Both engines, unbroken and stopped and resumed in all four ways, compared bit by bit, cell by cell.

What is compared is in engine_harness/compare.py: everything that was logged, the weights, and every file of
the last checkpoint: moments, schedule, random state, trainer_state.json. `==` throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from engine_harness.cells import CELLS, Cell
from engine_harness.execute import compare_cell
from engine_harness.launch import compare_on_two_processes
from engine_harness.tables import ON_TWO

pytestmark = pytest.mark.parity

DEFAULT = {
    "images-linear-G1-full-w0",
    "images-plateau-G3-lora-w2",
    "text-cosine-G3-full-w2",
    "speech-step-G3-lora-w0",
    "epoch-end-saves",
    "early-stopping",
    "bf16",
    "activation-checkpointing",
    "group-by-length",
    "stream",
    "left-in-evaluation",
    "speech-spec-augment",
    "audio-classification-grouped-w2",
    "tokens-non-padding",
    "fractional-epochs",
    "ctc",
    "seq2seq",
}
"""The cells of the default suite, one of everything; the others are slow."""

IN_CI = [name for name in CELLS if not CELLS[name].is_slow]
ONLY_IN_THE_MATRIX = [pytest.mark.slow, pytest.mark.matrix]


def marked(name: str) -> object:
    marks = [] if name in DEFAULT else [pytest.mark.slow] if name in IN_CI else ONLY_IN_THE_MATRIX
    return pytest.param(CELLS[name], id=name, marks=marks)


@pytest.mark.parametrize("cell", [marked(name) for name in CELLS])
def test_one_process(cell: Cell, tmp_path: Path) -> None:
    found = compare_cell(cell, tmp_path)
    assert not any(found.values()), found


def grouped(kind: str, names: list[str], marks: list[pytest.MarkDecorator], size: int = 20) -> list[object]:
    """Share a start of processes among some cells; a crash takes the rest of its group along, no more."""
    return [
        pytest.param(names[start : start + size], id=f"{kind}-{start // size + 1}", marks=marks)
        for start in range(0, len(names), size)
    ]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["speech-spec-augment"], id="one"),
        *grouped("those-that-differ-in-kind", IN_CI, [pytest.mark.slow]),
        *grouped("the-rest", [name for name in CELLS if name not in IN_CI], ONLY_IN_THE_MATRIX),
    ],
)
def test_two_processes(
    names: list[str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    by_process = compare_on_two_processes(names, tmp_path, minutes=30)
    differences = {
        name: [difference for found in by_process for difference in found[name].values() if difference]
        for name in names
    }
    for name, found in differences.items():
        record_property(f"{ON_TWO}: {name}", not found)
    assert not any(differences.values()), {name: found for name, found in differences.items() if found}
