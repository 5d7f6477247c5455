"""fp16 and its loss scale, made to run on a CPU; tests/gpu has the same on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from engine_harness.cells import Cell
from engine_harness.execute import compare_cell
from engine_harness.half_precision import WINDOWS, check_skipped_updates, put_fp16_on_the_cpu

pytestmark = pytest.mark.parity


@pytest.fixture(autouse=True)
def fp16(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    put_fp16_on_the_cpu(monkeypatch)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_updates_that_the_loss_scale_skips(optim: str, tmp_path: Path) -> None:
    check_skipped_updates(tmp_path, optim)


@pytest.mark.parametrize("task", ["images", "text"])
def test_both_engines_and_all_four_ways_of_going_on(task: str, tmp_path: Path) -> None:
    found = compare_cell(Cell("fp16", task, {**WINDOWS, "max_steps": 8}, stop=4), tmp_path)
    assert not any(found.values()), found
    assert (tmp_path / "trainer" / "checkpoint-8" / "scaler.pt").is_file()
