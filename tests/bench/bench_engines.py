"""What an update costs: our engines against a plain Trainer, on the same model and rows, in one process.

    python -m pytest -m bench -s tests/bench/bench_engines.py

The three train in turn, round by round, so that a machine that slows down slows all of them; the median of
the ratios is printed. CPU time of the process, one thread. Ratios above 1 mean that ours needs less.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from engine_harness.cells import Cell
from engine_harness.execute import build_parts
from transformers import PrinterCallback, Trainer, TrainerCallback

from hf_finetune.engines import ENGINES
from hf_finetune.engines.ingredients import Ingredients

NUM_ROUNDS, NUM_UPDATES, NUM_WARM = 7, 120, 20
QUIET = {
    "max_steps": NUM_UPDATES,
    "logging_steps": NUM_UPDATES,
    "eval_strategy": "no",
    "save_strategy": "no",
    "remove_unused_columns": False,
}


class Stopwatch(TrainerCallback):
    """CPU seconds between the end of the warm-up and the last update."""

    seconds = 0.0

    def on_step_end(self, args, state, control, **others):
        if state.global_step == NUM_WARM:
            self.seconds = -time.process_time()
        elif state.global_step == NUM_UPDATES:
            self.seconds += time.process_time()


def train_plainly(parts: Ingredients) -> None:
    def loss(outputs, labels, num_items_in_batch):
        return parts.loss(outputs, labels, inputs={}, num_items_in_batch=num_items_in_batch)

    trainer = Trainer(
        model=parts.model,
        args=parts.args,
        data_collator=parts.collate,
        train_dataset=parts.train_dataset,
        compute_loss_func=loss,
        callbacks=list(parts.callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


@pytest.mark.bench
def test_an_update_costs(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    ways: dict[str, Callable[[Ingredients], object]] = {
        "plain Trainer": train_plainly,
        "engine trainer": lambda parts: ENGINES.get("trainer")(parts, None),
        "engine accelerate": lambda parts: ENGINES.get("accelerate")(parts, None),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(NUM_ROUNDS):
        for name, train in ways.items():
            watch = Stopwatch()
            parts = build_parts(Cell("bench", args=QUIET, noise=0.0), tmp_path)
            train(dataclasses.replace(parts, callbacks=[watch]))
            taken[name].append(watch.seconds / (NUM_UPDATES - NUM_WARM))
    for name, seconds in taken.items():
        ratios = [plain / own for plain, own in zip(taken["plain Trainer"], seconds, strict=True)]
        print(
            f"\n{name:<18} {1000 * statistics.median(seconds):6.2f} ms an update; updates a second against a "
            f"plain Trainer: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            end="",
        )
