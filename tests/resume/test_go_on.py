"""What a resume carries over, applies or refuses; checkpoints that cross over to and from a plain Trainer."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_harness import compare
from engine_harness.cells import BEST, EVERY_FIVE, PER_EPOCH, Cell
from engine_harness.execute import build_parts, execute
from transformers import AutoModelForImageClassification, EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from hf_finetune.engines import ENGINES, checkpoint
from hf_finetune.errors import CheckpointError

BOTH = ("trainer", "accelerate")
EVERY = Cell("every", args=dict(EVERY_FIVE), stop=10)
QUIET = Cell("quiet", args={**EVERY_FIVE, "max_steps": 10}, stop=0, noise=0.0)


def train(
    cell: Cell, engine: str, folder: Path, resume: Path | None = None, callbacks: Any = (), **args: Any
) -> Any:
    parts = build_parts(cell, folder, **args)
    parts = dataclasses.replace(parts, callbacks=[*parts.callbacks, *callbacks])
    return parts, ENGINES.get(engine)(parts, resume)


class Count(TrainerCallback, ExportableState):
    def __init__(self, name: str = "") -> None:
        self.name, self.number = name, 0

    def on_step_end(self, *others: Any, **more: Any) -> None:
        self.number += 1 if self.name == "a" else 100

    def state(self) -> dict[str, Any]:
        return {"args": {"name": self.name}, "attributes": {"number": self.number}}


@pytest.mark.parametrize("engine", BOTH)
def test_two_callbacks_of_one_class_get_their_own_states_back(engine: str, tmp_path: Path) -> None:
    train(EVERY, "trainer", tmp_path, callbacks=[Count("a"), Count("b")])
    again = [Count("a"), Count("b")]
    train(EVERY, engine, tmp_path, tmp_path / "checkpoint-30", callbacks=again)
    assert [(callback.name, callback.number) for callback in again] == [("a", 34), ("b", 3400)]


@pytest.mark.parametrize("engine", BOTH)
def test_early_stopping_can_be_added(engine: str, tmp_path: Path) -> None:
    cell = Cell("added", args={**PER_EPOCH, **BEST})
    train(cell, "trainer", tmp_path)
    stopping = EarlyStoppingCallback(3)
    _, state = train(cell, engine, tmp_path, tmp_path / "checkpoint-17", callbacks=[stopping])
    assert state.global_step == 34
    assert "EarlyStoppingCallback" in checkpoint.load_state(tmp_path / "checkpoint-34").stateful_callbacks


@pytest.mark.parametrize("engine", BOTH)
def test_a_changed_rate_is_applied(engine: str, tmp_path: Path) -> None:
    train(EVERY, engine, tmp_path)
    _, state = train(EVERY, engine, tmp_path, tmp_path / "checkpoint-30", learning_rate=1e-2)
    rates = {entry["step"]: entry["learning_rate"] for entry in state.log_history if "learning_rate" in entry}
    assert rates[30] == pytest.approx(5e-3 * (1 - 29 / 34))
    assert rates[31] == pytest.approx(1e-2 * (1 - 30 / 34))


@pytest.mark.parametrize("engine", BOTH)
def test_changed_steps_and_length_are_applied(engine: str, tmp_path: Path) -> None:
    train(EVERY, engine, tmp_path)
    _, state = train(EVERY, engine, tmp_path, tmp_path / "checkpoint-34", eval_steps=4, num_train_epochs=3)
    evaluated = [entry["step"] for entry in state.log_history if "eval_loss" in entry]
    assert evaluated == [5, 10, 15, 20, 25, 30, 34, 36, 40, 44, 48, 51]
    rates = {entry["step"]: entry["learning_rate"] for entry in state.log_history if "learning_rate" in entry}
    for step in range(35, 52):  # the first one too, which the old schedule had 0 for
        assert rates[step] == pytest.approx(5e-3 * (1 - (step - 1) / 51))


@pytest.mark.parametrize("engine", BOTH)
def test_another_batch_is_refused(engine: str, tmp_path: Path) -> None:
    train(QUIET, "trainer", tmp_path)
    with pytest.raises(CheckpointError, match="had 12 rows and now has 24"):
        train(QUIET, engine, tmp_path, tmp_path / "checkpoint-5", per_device_train_batch_size=24)


def test_the_same_batch_in_smaller_parts_sees_the_same_rows(tmp_path: Path) -> None:
    """Losses agree to rounding where dropout is off, whatever the batch is made of."""
    cell = dataclasses.replace(QUIET, task="text")
    losses = {}
    for batch, accumulation in ((10, 1), (5, 2), (1, 10)):
        folder = tmp_path / str(batch)
        parts = build_parts(
            cell, folder, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation
        )
        switch_off_dropout(parts.model)
        state = ENGINES.get("accelerate")(parts, None)
        losses[batch] = [entry["loss"] for entry in state.log_history if "loss" in entry]
    assert losses[5] == pytest.approx(losses[10], rel=1e-4)
    assert losses[1] == pytest.approx(losses[10], rel=1e-4)


def switch_off_dropout(model: torch.nn.Module) -> None:
    for module in model.modules():
        for name in ("p", "dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("engine", BOTH)
def test_workers_do_not_touch_the_numbers(engine: str, workers: int, tmp_path: Path) -> None:
    whole = execute(EVERY, "trainer", tmp_path, "whole")
    other = dataclasses.replace(EVERY, args={**EVERY.args, "dataloader_num_workers": workers})
    resumed = execute(other, engine, tmp_path, "resumed", resume="whole")
    assert compare.first_difference(whole["history"], resumed["history"]) is None
    assert compare.first_difference(whole["weights"], resumed["weights"]) is None


@pytest.mark.parametrize("engine", BOTH)
def test_a_moved_run_finds_its_best(engine: str, tmp_path: Path) -> None:
    cell = Cell("moved", args={**PER_EPOCH, **BEST, "num_train_epochs": 3})
    train(cell, engine, tmp_path / "old")
    shutil.move(tmp_path / "old", tmp_path / "new")
    shutil.copytree(
        tmp_path / "new", tmp_path / "old"
    )  # by now another run has the path that was written down
    _, state = train(cell, engine, tmp_path / "new", tmp_path / "new" / "checkpoint-34")
    assert Path(state.best_model_checkpoint).parent == tmp_path / "new"


def plain_trainer(folder: Path, cell: Cell = QUIET) -> Trainer:
    parts = build_parts(cell, folder)

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        return parts.loss(outputs, labels, inputs={}, num_items_in_batch=num_items_in_batch)

    return Trainer(
        model=parts.model,
        args=parts.args,
        data_collator=parts.collate,
        train_dataset=parts.train_dataset,
        eval_dataset=parts.eval_dataset,
        compute_loss_func=loss,
    )


def test_both_go_on_alike_from_a_plain_trainers_checkpoint(tmp_path: Path) -> None:
    """Its published names are converted: every weight is there, although Trainer itself would lose most."""
    plain_trainer(tmp_path / "plain").train()
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "plain" / "checkpoint-5")
    parts = build_parts(QUIET, tmp_path)
    checkpoint.load_weights(tmp_path / "plain" / "checkpoint-5", parts.model)
    assert compare.first_difference(dict(saved.state_dict()), dict(parts.model.state_dict())) is None
    ends = []
    for engine in BOTH:
        folder = tmp_path / engine
        shutil.copytree(tmp_path / "plain", folder)
        parts, state = train(QUIET, engine, folder, folder / "checkpoint-5")
        ends.append((compare.without_times(state.log_history), dict(parts.model.state_dict())))
    assert compare.first_difference(ends[0], ends[1]) is None


def test_a_plain_trainer_goes_on_from_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(QUIET, "accelerate", tmp_path)
    trainer = plain_trainer(tmp_path)
    logging.getLogger("transformers").propagate = True
    with caplog.at_level(logging.WARNING):
        trainer._load_from_checkpoint(str(tmp_path / "checkpoint-5"))
    assert "missing keys" not in caplog.text
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / "checkpoint-5")
    assert compare.first_difference(dict(saved.state_dict()), dict(trainer.model.state_dict())) is None
    trainer = plain_trainer(tmp_path)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert trainer.state.global_step == 10


@pytest.mark.parametrize("engine", BOTH)
def test_a_missing_weight_is_an_error(engine: str, tmp_path: Path) -> None:
    train(QUIET, "trainer", tmp_path)
    parts = build_parts(dataclasses.replace(QUIET, task="text"), tmp_path)
    with pytest.raises(CheckpointError, match="do not fit the model"):
        ENGINES.get(engine)(parts, tmp_path / "checkpoint-5")
