"""Both engines, unbroken and stopped and resumed in all four ways, compared bit by bit, cell by cell.

What is compared is in engine_harness/compare.py: everything that was logged, the weights, and every file of
the last checkpoint: moments, schedule, random state, trainer_state.json. `==` throughout.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_harness import compare
from engine_harness.cells import CELLS, Cell
from engine_harness.execute import compare_cell, execute

from hf_finetune.engines import calendar, checkpoint, loop

TESTS = Path(__file__).parents[1]

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
    "speech-spec-augment",
    "tokens-non-padding",
    "fractional-epochs",
}
"""The cells of the default suite, one of everything; the others are slow."""

TWO_PROCESSES = [
    "epoch-end-saves",
    "bf16",
    "group-by-length",
    "lora-best",
    "speech-spec-augment",
    "stream",
    "text-cosine-G3-full-w2",
    "images-plateau-G3-lora-w2",
]


def marked(name: str) -> object:
    return pytest.param(CELLS[name], id=name, marks=[] if name in DEFAULT else pytest.mark.slow)


@pytest.mark.parity
@pytest.mark.parametrize("cell", [marked(name) for name in CELLS])
def test_one_process(cell: Cell, tmp_path: Path) -> None:
    found = compare_cell(cell, tmp_path)
    assert not any(found.values()), found


def find_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.parity
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["speech-spec-augment"], id="one"),
        pytest.param(TWO_PROCESSES, id="all", marks=pytest.mark.slow),
    ],
)
def test_two_processes(names: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *[
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--nproc_per_node",
                "2",
                "--master_port",
                find_port(),
            ],
            *["-m", "engine_harness.worker", str(tmp_path), *names],
        ],
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for results in json.loads((tmp_path / "results.json").read_text()):
        assert set(results) == set(names)
        for name, found in results.items():
            assert not any(found.values()), (name, found)


BASE = CELLS["images-linear-G1-full-w0"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    root = tmp_path_factory.mktemp("reference")
    return root, execute(BASE, "trainer", root, "trainer")


clip = torch.nn.utils.clip_grad_norm_

MUTATIONS = {
    "a clip limit of 1.0000001": (
        loop.nn.utils,
        "clip_grad_norm_",
        lambda w, limit: clip(w, limit * 1.0000001),
    ),
    "the rate of the next update in the log": (
        loop,
        "current_rate",
        lambda schedule: 1e-12 + rate_of(schedule),
    ),
    "one number drawn in an evaluation": (calendar, "evaluate", lambda *a, **k: draw_and(evaluate, *a, **k)),
}
rate_of, evaluate = loop.current_rate, calendar.evaluate


def draw_and(function, *args, **options):
    torch.rand(1)
    return function(*args, **options)


@pytest.mark.parity
@pytest.mark.parametrize("what", MUTATIONS)
def test_the_comparison_sees(what, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(*MUTATIONS[what])
    mutated = execute(BASE, "accelerate", tmp_path, "mutated")
    assert compare.compare_runs(reference[1], mutated)


@pytest.mark.parity
def test_the_comparison_sees_a_forgotten_random_state(reference, monkeypatch):
    root, whole = reference
    monkeypatch.setattr(checkpoint, "restore_rng", lambda *args: None)
    resumed = execute(BASE, "accelerate", root, "forgotten", resume="trainer")
    assert compare.compare_runs(whole, resumed, skip=("events",))
