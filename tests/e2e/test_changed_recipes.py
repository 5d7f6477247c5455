"""Resume with a changed recipe: each change is applied, and said so, or refused, and nothing is lost."""

import hashlib
import shutil
from pathlib import Path

import pytest
from real_runs import command

from hf_finetune.engines.checkpoint import list_checkpoints


def digest(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def stopped(run_folder: Path) -> Path:
    """Return a run that was stopped after update 8."""
    shutil.rmtree(list_checkpoints(run_folder)[-1])
    for path in (run_folder / "best", run_folder / "predictions"):
        shutil.rmtree(path)
    for name in ("scores.json", "report.html"):
        (run_folder / name).unlink()
    return run_folder


REFUSED = {
    "training.seed=1": "training.seed: 42 -> 1, refused: the order of the rows",
    "training.data_seed=1": "training.data_seed",
    "training.optim=sgd": "the checkpoint holds the other optimizer's state",
    "training.lr_scheduler_type=cosine": "the checkpoint holds the other schedule's state",
    "training.warmup_steps=2": "counted with the other warm-up",
    "training.per_device_train_batch_size=8": "global batch: 20 -> 16, refused",
    "training.metric_for_best_model=loss": "the best so far was measured by the other metric",
    "model.config.hidden_dropout_prob=0.3": "model.config",
    "loss=focal": "losses before and after could not be compared",
    "data.splits.train=train[:50%]": "fingerprint",
}


@pytest.mark.parametrize("change", REFUSED)
def test_refused(hf_finetune, recipe, stopped, change):
    before = digest(stopped)
    done = hf_finetune("run", recipe, change, "--resume")
    assert done.code == 2, done.err
    assert REFUSED[change] in done.err
    assert "--overwrite" in done.err
    assert "Traceback" not in done.err
    assert digest(stopped) == before


def test_all_refusals_are_named_at_once(hf_finetune, recipe, stopped):
    done = hf_finetune("run", recipe, "training.seed=1", "training.optim=sgd", "--resume")
    assert done.code == 2
    assert "training.seed" in done.err
    assert "training.optim" in done.err


APPLIED = {
    "training.learning_rate=1e-3": "training.learning_rate: 0.003 -> 0.001, applied",
    "training.weight_decay=0.1": "training.weight_decay: 0.0 -> 0.1, applied",
    "training.max_grad_norm=0.5": "training.max_grad_norm: 1.0 -> 0.5, applied",
    "training.max_steps=12": "training.max_steps: 24 -> 12, applied",
    "data.augment=[]": "data.augment: ",
    "metrics=[accuracy, {name: f1, average: macro}]": "metrics: ",
    "engine=accelerate": "engine: 'trainer' -> 'accelerate', applied",
}


@pytest.mark.parametrize("change", APPLIED)
def test_applied_and_said_so(hf_finetune, recipe, stopped, expected, change):
    done = hf_finetune("run", recipe, change, "--resume")
    assert done.code == 0, done.err
    line = next(line for line in done.err.splitlines() if line.startswith(APPLIED[change]))
    assert "applied" in line
    before, after = expected["log"], command.read_log(stopped)
    same = [entry for entry in after if entry["step"] <= 8]
    assert same == [entry for entry in before if entry["step"] <= 8]
    is_neutral = change.startswith("engine")
    assert (after == before) == is_neutral


def test_a_new_learning_rate_is_the_one_used(hf_finetune, recipe, stopped):
    assert hf_finetune("run", recipe, "training.learning_rate=1e-3", "--resume").code == 0
    rates = {e["step"]: e["learning_rate"] for e in command.read_log(stopped) if "learning_rate" in e}
    assert rates == {n: pytest.approx((3e-3 if n <= 8 else 1e-3) * (25 - n) / 24) for n in range(1, 25)}


@pytest.mark.parametrize("engine", command.ENGINES)
def test_a_finished_run_goes_on_when_it_is_given_more_updates(hf_finetune, recipe, run_folder, engine):
    done = hf_finetune("run", recipe, "training.max_steps=28", f"engine={engine}", "--resume")
    assert done.code == 0, done.err
    assert "training.max_steps: 24 -> 28, applied: the schedule is laid out over the new length" in done.err
    assert (run_folder / "checkpoint-28").is_dir()
    assert command.read_log(run_folder)[-1]["step"] == 28


def test_fewer_rows_at_a_time_more_often_are_the_same_rows(hf_finetune, recipe, stopped, expected):
    words = ["training.per_device_train_batch_size=20", "training.gradient_accumulation_steps=1"]
    done = hf_finetune("run", recipe, *words, "--resume")
    assert done.code == 0, done.err
    assert (
        "training.per_device_train_batch_size: 10 -> 20, applied: an update still sees the same 20"
        in done.err
    )
    assert [e["step"] for e in command.read_log(stopped)] == [e["step"] for e in expected["log"]]


def test_there_is_nothing_to_resume(hf_finetune, recipe, tmp_path):
    done = hf_finetune("run", recipe, "--resume")
    assert done.code == 2
    assert "there is no run to resume" in done.err
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_by_its_path(hf_finetune, recipe, run_folder, expected):
    first = list_checkpoints(run_folder)[0]
    done = hf_finetune("run", recipe, "--resume", f"run/{first.name}")
    assert done.code == 0, done.err
    assert f"going on from run/{first.name}" in done.err
    command.assert_same_run(expected, run_folder)
