"""One truth for "best": the kept model's own number, finite, with its update."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerState

from hf_finetune.engines.bookkeeping import take_if_best
from hf_finetune.scoring import describe_best

ARGS = SimpleNamespace(metric_for_best_model="accuracy", greater_is_better=True, save_strategy="steps")


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_the_best(score, caplog):
    state = TrainerState(global_step=4)
    assert not take_if_best({"eval_accuracy": score}, state, ARGS)
    assert (state.best_metric, state.best_global_step) == (None, None)
    assert "at update 4: not a best model" in caplog.text
    assert take_if_best({"eval_accuracy": 0.1}, state, ARGS)


def test_the_number_is_that_of_the_model_that_was_kept(tmp_path: Path):
    """The best evaluation was at update 6, and nothing was saved there."""
    (tmp_path / "checkpoint-4").mkdir()
    state = TrainerState(global_step=8, best_metric=0.9, best_global_step=6)
    state.best_model_checkpoint = str(tmp_path / "checkpoint-4")
    state.log_history = [{"step": step, "eval_accuracy": step / 10} for step in (2, 4, 6, 8)]
    parts = SimpleNamespace(args=SimpleNamespace(output_dir=str(tmp_path), **vars(ARGS)))
    best = describe_best(parts, state)
    assert (best["step"], best["value"], best["metric"]) == (4, 0.4, "accuracy")
    state.log_history = []
    assert describe_best(parts, state)["value"] is None
