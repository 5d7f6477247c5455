"""fp16 loss scaling on a CPU, where Accelerate has none: the scale grows, falls, and outlives a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from engine_harness.cells import EVERY_FIVE, Cell
from engine_harness.execute import compare_cell, execute

from hf_finetune.engines import checkpoint

pytestmark = pytest.mark.parity

CELL = Cell(
    "loss-scaling",
    args={**EVERY_FIVE, "gradient_accumulation_steps": 3, "eval_steps": 2, "save_steps": 2},
    stop=4,
)


@pytest.fixture(autouse=True)
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every Accelerator a scaler whose first scale is too large, and which grows every third update."""
    start = Accelerator.__init__

    def start_with_a_scaler(self: Any, *args: Any, **options: Any) -> None:
        start(self, *args, **options)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=3)
        self.native_amp = True

    monkeypatch.setattr(Accelerator, "__init__", start_with_a_scaler)


def test_both_engines_and_all_four_ways_of_resuming(tmp_path: Path) -> None:
    found = compare_cell(CELL, tmp_path)
    assert not any(found.values()), found
    states = [
        checkpoint.load_torch(tmp_path / "trainer" / f"checkpoint-{step}" / "scaler.pt")
        for step in (8, 10, 12)
        if (tmp_path / "trainer" / f"checkpoint-{step}").is_dir()
    ]
    assert len({state["scale"] for state in states}) > 1  # it did move


def test_a_scale_that_is_not_restored_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(CELL, "accelerate", tmp_path, "accelerate")
    saved = checkpoint.load_torch(tmp_path / "snapshot-accelerate" / "checkpoint-4" / "scaler.pt")
    assert saved["scale"] < 2.0**126
    read: list[Any] = []
    load = checkpoint.load_torch
    monkeypatch.setattr(
        checkpoint, "load_torch", lambda path, **more: read.append(path.name) or load(path, **more)
    )
    execute(CELL, "accelerate", tmp_path, "resumed", resume="accelerate")
    assert "scaler.pt" in read
