"""The best checkpoint and the last one: what stays, what a rerun finds, what is said when one is lost."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from engine_harness import compare
from engine_harness.cells import EVERY_FIVE, Cell
from engine_harness.execute import build_parts, execute
from transformers import TrainerCallback, TrainerState

from hf_finetune.engines import ENGINES, checkpoint
from hf_finetune.errors import CheckpointError

BOTH = ("trainer", "accelerate")
BEST_BY_ROWS = {
    "metric_for_best_model": "accuracy",
    "greater_is_better": True,
    "load_best_model_at_end": True,
    "save_total_limit": 1,
}
LIMIT_1 = Cell("limit-1", args={**EVERY_FIVE, **BEST_BY_ROWS, "max_steps": 22}, stop=15)


class Falling:
    """A score that is best at the second evaluation, so that the best is never the last."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, reduced: Any, labels: Any) -> None:
        pass

    def compute(self) -> dict[str, float]:
        self.count += 1
        return {"accuracy": 1.0 if self.count == 2 else 0.5 / self.count}


class Updates(TrainerCallback):
    def __init__(self) -> None:
        self.number = 0

    def on_step_end(self, *others: Any, **more: Any) -> None:
        self.number += 1


def train(engine: str, folder: Path, resume: Path | None = None, **args: Any) -> tuple[TrainerState, int]:
    """Return the state at the end and how many updates it took."""
    seen = Updates()
    parts = dataclasses.replace(build_parts(LIMIT_1, folder, **args), metrics=Falling(), callbacks=[seen])
    return ENGINES.get(engine)(parts, resume), seen.number


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("first", BOTH)
def test_a_finished_run_with_a_limit_of_one_is_not_trained_again(
    first: str, engine: str, tmp_path: Path
) -> None:
    state, _ = train(first, tmp_path)
    assert state.best_global_step == 10
    assert {path.name for path in checkpoint.list_checkpoints(tmp_path)} == {"checkpoint-10", "checkpoint-22"}
    last = checkpoint.find_last(tmp_path)
    again, num_updates = train(engine, tmp_path, last)
    assert (last.name, num_updates) == ("checkpoint-22", 0)
    assert again.best_model_checkpoint == str(tmp_path / "checkpoint-10")
    assert {path.name for path in checkpoint.list_checkpoints(tmp_path)} == {"checkpoint-10", "checkpoint-22"}


@pytest.mark.parametrize("engine", BOTH)
def test_the_best_of_before_outlives_a_resume(engine: str, tmp_path: Path) -> None:
    train("trainer", tmp_path, max_steps=15)
    names = {path.name for path in checkpoint.list_checkpoints(tmp_path)}
    assert names == {"checkpoint-10", "checkpoint-15"}
    state, num_updates = train(engine, tmp_path, tmp_path / "checkpoint-15", eval_delay=100)
    assert num_updates == 7
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-10")
    assert {path.name for path in checkpoint.list_checkpoints(tmp_path)} == {"checkpoint-10", "checkpoint-22"}


@pytest.mark.parametrize("engine", BOTH)
def test_a_run_that_saves_the_best_only_repeats_what_it_did_not_save(engine: str, tmp_path: Path) -> None:
    """Bit by bit: the end is that of the first time, and the best stays the best."""
    by_loss = {"metric_for_best_model": "loss", "greater_is_better": False, "load_best_model_at_end": True}
    cell = Cell("best-only", args={**EVERY_FIVE, **by_loss, "save_strategy": "best", "eval_steps": 4})
    whole = execute(cell, "trainer", tmp_path, "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "snapshot-whole")
    last = int(checkpoint.find_last(tmp_path / "whole").name.split("-")[1])
    again = execute(dataclasses.replace(cell, stop=last), engine, tmp_path, "again", resume="whole")
    assert compare.compare_runs(whole, again, skip=("events",)) == []


@pytest.mark.parametrize("engine", BOTH)
def test_a_best_that_is_gone_is_forgotten_and_said_so(
    engine: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train("trainer", tmp_path, max_steps=15)
    shutil.rmtree(tmp_path / "checkpoint-10")
    with caplog.at_level(logging.WARNING, "hf_finetune"):
        state, _ = train(engine, tmp_path, tmp_path / "checkpoint-15")
    assert caplog.text.count("is gone: the best is chosen anew") == 1
    assert (state.best_global_step, state.best_metric) == (22, 1.0)  # the second evaluation from there
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-22")


@pytest.mark.parametrize("engine", BOTH)
def test_a_best_that_was_damaged_is_not_taken_for_the_best(engine: str, tmp_path: Path) -> None:
    train("trainer", tmp_path, max_steps=15)
    weights = tmp_path / "checkpoint-10" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged") as stopped:
        train(engine, tmp_path, tmp_path / "checkpoint-15")
    assert "checkpoint-10" in str(stopped.value)
