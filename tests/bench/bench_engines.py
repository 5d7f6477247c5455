"""What an update costs: our engines, a plain Trainer and bare PyTorch, on the same model and rows.

    python -m pytest -m bench -s tests/bench/bench_engines.py

All train in turn, round by round, so that a machine that slows down slows all of them; the median of the
ratios is printed. CPU time of the process, one thread; on a GPU, where there is one, the time on the wall.
Ratios above 1 mean that ours needs less.
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
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    get_scheduler,
    set_seed,
)

from hf_finetune.engines import ENGINES
from hf_finetune.engines.ingredients import Ingredients

GPU = torch.device("cuda") if torch.cuda.is_available() else None
NUM_ROUNDS, NUM_UPDATES, NUM_WARM = 7, 120, 20
QUIET = {
    "max_steps": NUM_UPDATES,
    "logging_steps": NUM_UPDATES,
    "eval_strategy": "no",
    "save_strategy": "no",
    "remove_unused_columns": False,
    "use_cpu": GPU is None,
    "dataloader_pin_memory": GPU is not None,
}


def read_clock() -> float:
    if GPU is None:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Stopwatch(TrainerCallback):
    """Seconds between the end of the warm-up and the last update."""

    seconds = 0.0

    def on_step_end(self, args, state, control, **others):
        if state.global_step == NUM_WARM:
            self.seconds = -read_clock()
        elif state.global_step == NUM_UPDATES:
            self.seconds += read_clock()


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


def train_bare(parts: Ingredients) -> None:
    """Train on the same rows, with the same model, optimizer, clipping and schedule, in plain PyTorch."""
    args, model, watch = parts.args, parts.model, parts.callbacks[0]
    set_seed(args.seed)
    loader = DataLoader(
        parts.train_dataset,
        args.train_batch_size,
        shuffle=True,
        collate_fn=parts.collate,
        pin_memory=args.dataloader_pin_memory,
    )
    model.to(args.device)
    weights = list(model.parameters())
    decayed = [weight for weight in weights if weight.ndim > 1]
    others = [weight for weight in weights if weight.ndim <= 1]  # two groups, as the engines have them
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": others}], args.learning_rate, fused=True)
    scheduler = get_scheduler("linear", optimizer, 0, args.max_steps)
    model.train()
    state = TrainerState()
    while state.global_step < args.max_steps:
        for batch in loader:
            batch = {name: value.to(args.device, non_blocking=True) for name, value in batch.items()}
            labels = batch.pop("labels")
            loss = parts.loss(model(**batch), labels, inputs=batch, num_items_in_batch=len(labels))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, args.max_grad_norm)
            optimizer.step()
            scheduler.step()
            for weight in weights:
                weight.grad = None
            state.global_step += 1
            watch.on_step_end(args, state, None)
            if state.global_step == args.max_steps:
                break


SIZES = {"about 3 ms": (48, 3, 4), "about 12 ms": (64, 4, 16), "about 50 ms": (192, 6, 16)}
"""Hidden size, layers, rows of a DeiT of 16 x 16 pixels."""


@pytest.mark.bench
@pytest.mark.parametrize("size", SIZES)
def test_an_update_costs(size: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    hidden, layers, batch = SIZES[size]
    ways: dict[str, Callable[[Ingredients], object]] = {
        "bare PyTorch": train_bare,
        "plain Trainer": train_plainly,
        "engine trainer": lambda parts: ENGINES.get("trainer")(parts, None),
        "engine accelerate": lambda parts: ENGINES.get("accelerate")(parts, None),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(NUM_ROUNDS):
        for name, train in ways.items():
            watch = Stopwatch()
            parts = build_parts(
                Cell("bench", args=QUIET, noise=0.0), tmp_path, per_device_train_batch_size=batch
            )
            config = parts.model.config
            config.hidden_size, config.num_hidden_layers, config.intermediate_size = (
                hidden,
                layers,
                4 * hidden,
            )
            set_seed(0)
            train(dataclasses.replace(parts, model=type(parts.model)(config), callbacks=[watch]))
            taken[name].append(watch.seconds / (NUM_UPDATES - NUM_WARM))
    for name, seconds in taken.items():
        line = f"\n{name:<18} {1000 * statistics.median(seconds):6.2f} ms an update; updates a second against"
        for other in ("bare PyTorch", "plain Trainer"):
            ratio = statistics.median(a / b for a, b in zip(taken[other], seconds, strict=True))
            line += f" {other} {ratio:.3f},"
        print(line.rstrip(","), end="")
