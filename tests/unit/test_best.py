"""One truth for "best": the kept model's own number, finite, with its update; whole, and of this run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from transformers import TrainerState

from hf_finetune.engines.bookkeeping import take_if_best
from hf_finetune.engines.checkpoint import load_state
from hf_finetune.errors import CheckpointError, RunFolderError
from hf_finetune.run_folder import check_best, describe_mismatch, seal_best
from hf_finetune.scoring import describe_best, find_best_checkpoint

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


# ---- the manifest of best/ ---------------------------------------------------------------------------------

ABOUT = {"metric": "accuracy", "value": 0.5, "step": 8}
TODO = "Write it anew."


@pytest.fixture
def best(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a sealed best model, and the scores that were measured with it."""
    folder = tmp_path / "best"
    (folder / "deeper").mkdir(parents=True)
    save_file({"weight": np.arange(64, dtype=np.float32)}, folder / "model.safetensors")
    for name in ("config.json", "deeper/tokenizer.json"):
        (folder / name).write_text('{"hidden": 1}')
    return folder, {"best": {**ABOUT, "manifest": seal_best(folder, ABOUT)}}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGES = {
    "flipped": (flip, "its sha256 is not the manifest's"),
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:5]), "has 5 bytes instead of"),
    "gone": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "deeper/tokenizer.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_to_the_best_model_is_named(best: Any, name: str, damage: str) -> None:
    folder, scores = best
    check_best(folder, scores, todo=TODO)
    assert describe_mismatch(folder, scores) is None
    change, message = DAMAGES[damage]
    change(folder / name)
    with pytest.raises(RunFolderError, match=f"{re.escape(name)} .*{message}.*Write it anew"):
        check_best(folder, scores, todo=TODO)


def test_a_manifest_that_is_gone_is_no_older_version(best: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder, scores = best
    (folder / "manifest.json").unlink()
    with pytest.raises(RunFolderError, match=r"manifest\.json is missing"):
        check_best(folder, scores, todo=TODO)
    check_best(folder, {"best": ABOUT}, todo=TODO)  # written before there were manifests
    assert "made by an earlier version" in caplog.text
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(RunFolderError, match=r"model\.safetensors is damaged"):
        check_best(folder, {"best": ABOUT}, todo=TODO)


def test_a_file_more_is_named_and_no_fault(best: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder, scores = best
    (folder / "LICENSE").write_text("mine")
    check_best(folder, scores, todo=TODO)
    assert "not written by the run: LICENSE" in caplog.text


def test_scores_of_another_model_are_noticed(best: Any) -> None:
    folder, scores = best
    seal_best(folder, {**ABOUT, "step": 24})
    assert describe_mismatch(folder, scores) == (
        "scores.json is not of the model in best/: it was measured at update 8, and the model is of update 24"
    )
    check_best(folder, scores, todo=TODO)
    assert "and the model is of update 24" in str(describe_mismatch(folder, {"best": ABOUT})), "scores of old"


def test_a_score_that_was_changed_is_noticed(best: Any) -> None:
    folder, scores = best
    scores["best"]["value"] = 0.9
    assert describe_mismatch(folder, scores) == (
        "scores.json was changed: its best value is 0.9, and the model was kept for 0.5"
    )
    named = seal_best(folder, {**ABOUT, "value": float("nan")})  # null in both
    assert describe_mismatch(folder, {"best": {**ABOUT, "value": None, "manifest": named}}) is None


# ---- which checkpoint is the best one ----------------------------------------------------------------------


def make_checkpoint(folder: Path, *accuracies: float, best: Path | None = None, runtime: float = 1.0) -> Path:
    """Write the state of a run that was evaluated at every update."""
    folder.mkdir(parents=True)
    history = [
        {"step": step, "eval_accuracy": accuracy, "eval_runtime": runtime}
        for step, accuracy in enumerate(accuracies, 1)
    ]
    state = TrainerState(global_step=len(history), max_steps=9, log_history=history)
    if best is not None:
        state.best_model_checkpoint, state.best_global_step = str(best), int(best.name.split("-")[1])
        state.best_metric = accuracies[state.best_global_step - 1]
    state.save_to_json(str(folder / "trainer_state.json"))
    return folder


def test_what_lies_beside_comes_before_the_path_that_was_written_down(tmp_path: Path) -> None:
    """A run was moved, and another one now lies under its old name."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        make_checkpoint(folder / "checkpoint-1", 0.9)
    last = make_checkpoint(new / "checkpoint-2", 0.9, 0.1, best=old / "checkpoint-1")
    assert load_state(last).best_model_checkpoint == str(new / "checkpoint-1")


def test_no_checkpoint_of_another_run_is_the_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither under the old path nor beside: its history is not how this run's began."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        make_checkpoint(folder / "checkpoint-1", 0.7)
    last = make_checkpoint(new / "checkpoint-2", 0.9, 0.1, best=old / "checkpoint-1")
    state = load_state(last)
    assert (state.best_model_checkpoint, state.best_metric, state.best_global_step) == (None, None, None)
    assert "is gone: the best is chosen anew" in caplog.text


def test_the_best_may_lie_where_the_run_was_resumed_from(tmp_path: Path) -> None:
    """`--resume first/checkpoint-2 training.output_dir=second`; the clock does not count."""
    kept = make_checkpoint(tmp_path / "first" / "checkpoint-1", 0.9, runtime=2.0)
    last = make_checkpoint(tmp_path / "second" / "checkpoint-3", 0.9, 0.1, float("nan"), best=kept)
    assert load_state(last).best_model_checkpoint == str(kept)


def test_later_checkpoints_of_an_abandoned_branch_are_not_the_end(tmp_path: Path) -> None:
    """`--resume run/checkpoint-1 training.max_steps=2`, without a best: the last of this run is kept."""
    make_checkpoint(tmp_path / "checkpoint-1", 0.1)
    make_checkpoint(tmp_path / "checkpoint-2", 0.1, 0.3)
    make_checkpoint(tmp_path / "checkpoint-4", 0.1, 0.2, 0.3, 0.4)
    state = load_state(tmp_path / "checkpoint-2")
    assert find_best_checkpoint(state, tmp_path) == tmp_path / "checkpoint-2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "it is no mapping"),
        ('{"global_step": 4', "cannot be read"),
        ("{}", "it lacks global_step, max_steps, log_history"),
        ('{"global_step": "4", "max_steps": 8, "log_history": []}', "global_step is of another kind"),
        ('{"global_step": 4, "max_steps": 8, "log_history": [1]}', "log_history is of another kind"),
        ('{"global_step": 4, "max_steps": 8, "log_history": [], "tomorrows": 1}', "it has tomorrows"),
    ],
)
def test_a_foreign_state_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "trainer_state.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"trainer_state\.json .*{message}"):
        load_state(tmp_path)
