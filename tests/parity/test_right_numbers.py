"""Numbers that are right, not only equal: accumulation changes nothing, NaN is seen, named and kept out."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_harness import compare
from engine_harness.cells import ADALORA, BEST, EVERY_FIVE, Cell
from engine_harness.execute import build_parts
from torch import nn
from transformers import Trainer, TrainerCallback

from hf_finetune.engines import ENGINES, checkpoint
from hf_finetune.engines.evaluation import evaluate
from hf_finetune.engines.ingredients import Guard, Ingredients
from hf_finetune.errors import NonFiniteError

BOTH = ("trainer", "accelerate")
SPLITS = {1: 12, 3: 4, 12: 1}
"""Micro-batches of a window -> rows of a micro-batch: always 12 rows an update."""


def switch_off_dropout(model: nn.Module) -> None:
    for module in model.modules():
        for name in ("p", "dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


class Gradients(TrainerCallback):
    """Keep the gradient of every weight at the first update."""

    def __init__(self) -> None:
        self.found: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **more: Any
    ) -> None:
        if not self.found:
            self.found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


TWO_UPDATES = {"max_steps": 2, "save_strategy": "no", "max_grad_norm": 0.0}


def first_gradients(
    task: str, folder: Path, accumulation: int, **adapters: Any
) -> tuple[Ingredients, Gradients]:
    seen = Gradients()
    cell = Cell("right", task, TWO_UPDATES, noise=0.0, **adapters)
    sizes = {"gradient_accumulation_steps": accumulation, "per_device_train_batch_size": SPLITS[accumulation]}
    parts = build_parts(cell, folder, **sizes)
    switch_off_dropout(parts.model)
    return dataclasses.replace(parts, callbacks=[*parts.callbacks, seen]), seen


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize(
    ("task", "adapters"),
    [("images", {}), ("text", {}), ("text", {"peft": {**ADALORA, "tinit": 0}})],
    ids=["images", "text", "adalora"],
)
def test_accumulation_does_not_change_the_gradient(
    task: str, adapters: dict[str, Any], engine: str, tmp_path: Path
) -> None:
    found = {}
    for accumulation in SPLITS:
        parts, seen = first_gradients(task, tmp_path, accumulation, **adapters)
        ENGINES.get(engine)(parts, None)
        found[accumulation] = seen.found
    whole = torch.cat([gradient.flatten() for gradient in found[1].values()])
    for accumulation in (3, 12):
        parted = torch.cat([gradient.flatten() for gradient in found[accumulation].values()])
        # rounding in 32 bits; a wrong divisor is off by a tenth and more
        assert (parted - whole).norm() < 1e-5 * whole.norm()


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("task", ["images", "text", "speech"])
def test_activation_checkpointing_gives_adapters_the_same_gradient(
    task: str, engine: str, tmp_path: Path
) -> None:
    """Also the reentrant kind, which by itself gives layers behind frozen embeddings none."""
    found = []
    for options in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        seen = Gradients()
        asked = {"activation_checkpointing": options is not None, "activation_checkpointing_kwargs": options}
        parts = build_parts(Cell("same", task, TWO_UPDATES, lora=True, noise=0.0), tmp_path, **asked)
        for name, parameter in parts.model.named_parameters():
            if "lora_B" in name:  # starts at 0, and so would the gradient of lora_A
                nn.init.constant_(parameter, 0.1)
        switch_off_dropout(parts.model)
        ENGINES.get(engine)(dataclasses.replace(parts, callbacks=[seen]), None)
        trained = {name for name, parameter in parts.model.named_parameters() if parameter.requires_grad}
        assert trained == {name for name, gradient in seen.found.items() if gradient.any()}
        found.append(seen.found)
    assert compare.first_difference(found[0], found[1]) is None
    assert compare.first_difference(found[0], found[2]) is None


@pytest.mark.parametrize(("task", "factor"), [("text", 3.0), ("images", 1.0)])
def test_a_plain_trainer_is_off_where_we_are_not(task: str, factor: float, tmp_path: Path) -> None:
    """The reason for our own loss: BERT's head gives G times the gradient, DeiT's does not."""
    found = {}
    for accumulation in (1, 3):
        parts, seen = first_gradients(task, tmp_path, accumulation)
        Trainer(
            model=parts.model,
            args=parts.args,
            data_collator=parts.collate,
            train_dataset=parts.train_dataset,
            callbacks=[seen],
        ).train()
        found[accumulation] = seen.found["classifier.weight"]
    ratio = (found[3].norm() / found[1].norm()).item()
    assert ratio == pytest.approx(factor, rel=0.02)


class Poison(torch.utils.data.Dataset[Any]):
    """One training row is NaN."""

    def __init__(self, rows: Any, bad: int) -> None:
        self.rows, self.bad = rows, bad

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        row = self.rows[index]
        return {**row, "pixel_values": row["pixel_values"] * math.nan} if index == self.bad else row


def poisoned(folder: Path, max_skips: int, **args: Any) -> Ingredients:
    parts = build_parts(Cell("poisoned", args={**EVERY_FIVE, **args}), folder)
    return dataclasses.replace(
        parts, train_dataset=Poison(parts.train_dataset, bad=100), guard=Guard(max_skips=max_skips)
    )


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("engine", BOTH)
def test_nan_stops_the_run_and_names_the_row(engine: str, accumulation: int, tmp_path: Path) -> None:
    parts = poisoned(tmp_path, 0, gradient_accumulation_steps=accumulation)
    with pytest.raises(
        NonFiniteError, match=r"update \d+ is not finite: loss .*nan.*rate .*rows .*\b100\b"
    ) as stopped:
        ENGINES.get(engine)(parts, None)
    assert stopped.value.exit_code == 2
    assert all(bool(torch.isfinite(weight).all()) for weight in parts.model.parameters())


@pytest.mark.parametrize("engine", BOTH)
def test_the_stop_names_the_last_good_checkpoint(engine: str, tmp_path: Path) -> None:
    parts = poisoned(tmp_path, 1)
    with pytest.raises(
        NonFiniteError
    ) as stopped:  # the row comes once per epoch: the second time is too much
        ENGINES.get(engine)(parts, None)
    assert str(checkpoint.find_last(tmp_path)) in str(stopped.value)
    assert checkpoint.load_state(checkpoint.find_last(tmp_path)).global_step >= 17 - 5


@pytest.mark.parametrize("name", ["weights", "log"])
def test_skipping_is_the_same_in_both(name: str, tmp_path: Path) -> None:
    ends: dict[str, dict[str, Any]] = {}
    for engine in BOTH:
        parts = poisoned(tmp_path / engine, 2)
        state = ENGINES.get(engine)(parts, None)
        log = compare.without_times(state.log_history)
        ends[engine] = {"weights": dict(parts.model.state_dict()), "log": log}
        assert sum(math.isnan(entry["loss"]) for entry in log if "loss" in entry) == 2
        assert all(bool(torch.isfinite(weight).all()) for weight in parts.model.parameters())
    assert compare.first_difference(ends["trainer"][name], ends["accelerate"][name]) is None


class NotANumber:
    """A metric that is NaN at every other evaluation, at first as well."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, reduced: Any, labels: Any) -> None:
        pass

    def compute(self) -> dict[str, float]:
        self.count += 1
        return {"accuracy": math.nan if self.count % 2 else 0.5 / self.count}


@pytest.mark.parametrize("engine", BOTH)
def test_a_nan_score_is_never_the_best(engine: str, tmp_path: Path) -> None:
    parts = build_parts(Cell("score", args={**EVERY_FIVE, **BEST}), tmp_path)
    state = ENGINES.get(engine)(dataclasses.replace(parts, metrics=NotANumber()), None)
    assert (state.best_metric, state.best_global_step) == (0.25, 10)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("engine", BOTH)
def test_the_best_model_scores_what_was_recorded(engine: str, tmp_path: Path) -> None:
    parts = build_parts(
        Cell(
            "best", args={**EVERY_FIVE, **BEST, "metric_for_best_model": "loss", "greater_is_better": False}
        ),
        tmp_path,
    )
    state = ENGINES.get(engine)(parts, None)
    assert evaluate(parts, parts.eval_dataset, prefix="eval")["eval_loss"] == state.best_metric


@pytest.mark.parametrize("batch", [1, 7, 32, 77])
def test_an_evaluation_does_not_depend_on_its_batch(batch: int, tmp_path: Path) -> None:
    parts = build_parts(Cell("any"), tmp_path, per_device_eval_batch_size=batch)
    rows: list[int] = []
    scores = evaluate(
        parts, parts.eval_dataset, prefix="test", on_batch=lambda found: rows.extend(found["labels"])
    )
    assert rows == [parts.eval_dataset[i]["labels"] for i in range(77)]
    whole = build_parts(Cell("any"), tmp_path, per_device_eval_batch_size=77)
    expected = evaluate(whole, whole.eval_dataset, prefix="test")
    assert scores["test_loss"] == pytest.approx(expected["test_loss"], rel=1e-6)
    assert scores["test_accuracy"] == expected["test_accuracy"]


def test_out_of_memory_starts_anew_with_half_the_batch(tmp_path: Path) -> None:
    """The result is that of a run with the batch size found, in both engines."""
    ends = []
    for engine, batch, search in (("trainer", 12, True), ("accelerate", 12, True), ("accelerate", 6, False)):
        cell = Cell("memory", args={**EVERY_FIVE, "max_steps": 6})
        folder = tmp_path / "live"
        parts = build_parts(cell, folder, per_device_train_batch_size=batch, auto_find_batch_size=search)

        def loss(
            outputs: Any, labels: Any, *, inputs: Any, num_items_in_batch: Any, parts: Any = parts
        ) -> Any:
            if len(labels) > 6 and parts.model.training:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            return parts.loss(outputs, labels, inputs=inputs, num_items_in_batch=num_items_in_batch)

        state = ENGINES.get(engine)(dataclasses.replace(parts, loss=loss), None)
        ends.append((compare.without_times(state.log_history), dict(parts.model.state_dict())))
    assert compare.first_difference(ends[0], ends[1]) is None
    assert compare.first_difference(ends[1], ends[2]) is None
