"""fp16 with a loss scale, also where there is no GPU, and what must hold of the updates that it skips."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from engine_harness import compare
from engine_harness.cells import EVERY_FIVE, Cell
from engine_harness.execute import build_parts
from hf_finetune.engines import ENGINES

WINDOWS = {**EVERY_FIVE, "gradient_accumulation_steps": 3, "eval_steps": 2, "save_steps": 2}
NUM_UPDATES = 25


def put_fp16_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every Accelerator autocast to float16 and a loss scale; Accelerate 1.15 does so on a GPU only."""
    make = Accelerator.__init__

    def make_with_scale(accelerator: Accelerator, *given: Any, **options: Any) -> None:
        make(accelerator, *given, **options)
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")

    monkeypatch.setattr(Accelerator, "__init__", make_with_scale)


def check_skipped_updates(folder: Path, optim: str, **arguments: Any) -> None:
    """Train on a loss that is too large for the first scale, 65,536, which is then halved with every update.

    A skipped update changes no weight, is no error, and is the same in both engines. The schedule waits for
    it, but not where the optimizer is a fused one: that skips by itself, and Accelerate 1.15 takes it for an
    update. A plain Trainer's schedule steps then, too.
    """
    cell = Cell("scale", args={**EVERY_FIVE, "max_steps": NUM_UPDATES, "optim": optim, **arguments})
    ends = []
    for engine in ("trainer", "accelerate"):
        parts = build_parts(cell, folder / "live")

        def loss(outputs: Any, labels: Any, parts: Any = parts, **others: Any) -> Any:
            return 10_000 * parts.loss(outputs, labels, **others)

        state = ENGINES.get(engine)(dataclasses.replace(parts, loss=loss), None)
        rows = [entry for entry in state.log_history if "loss" in entry]
        num_skipped = next(i for i, entry in enumerate(rows) if math.isfinite(entry["grad_norm"]))
        assert 3 < num_skipped < NUM_UPDATES - 1
        rates = {entry["learning_rate"] for entry in rows[: num_skipped + 1]}
        assert len(rates) == (num_skipped + 1 if optim == "adamw_torch_fused" else 1)
        weights = dict(parts.model.state_dict())
        assert all(torch.isfinite(tensor).all() for tensor in weights.values())
        ends.append((compare.without_times(state.log_history), weights))
    assert compare.first_difference(ends[0], ends[1]) is None
