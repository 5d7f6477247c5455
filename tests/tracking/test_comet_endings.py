"""However a run ends, its Comet archive is whole; a resumed run adds one to the same experiment."""

import json
import os
import secrets
import signal
import time

import pytest
from real_runs import command
from real_runs.inject import file_faults
from tracking.archives import OFFLINE, metrics_of_log, read_archives

from hf_finetune.tracking.comet_archive import list_whole

INT, TERM = signal.SIGINT, signal.SIGTERM


def without_times(metrics):
    return [metric for metric in metrics if "runtime" not in metric[0] and "per_second" not in metric[0]]


def resume(hf_finetune, recipe, engine, run):
    """Go on to the end and return the archives of all sessions."""
    done = hf_finetune(
        "run", recipe, OFFLINE, f"engine={engine}", "training.dataloader_num_workers=1", "--resume"
    )
    assert done.code == 0, done.err
    archives = read_archives(run)
    keys = {archive.about["offline_id"] for archive in archives}
    assert keys == {json.loads((run / "tracking" / "trackers.json").read_text())["comet"]["key"]}
    return archives


@pytest.mark.parametrize(
    ("signum", "first", "second"), [(TERM, *command.ENGINES), (INT, *reversed(command.ENGINES))]
)
def test_a_signal_leaves_all_so_far_and_the_resumed_run_the_rest(
    hf_finetune, recipe, tmp_path, signum, first, second
):
    run = tmp_path / "run"
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[signum]):
        done = hf_finetune("run", recipe, OFFLINE, f"engine={first}")
    assert done.code == 128 + signum
    assert "comet upload run/tracking/comet/*.zip" in done.err
    (archive,) = read_archives(run)
    assert archive.training == metrics_of_log(run)
    assert archive.others["ended"] == "Interrupted"
    before, after = resume(hf_finetune, recipe, second, run)
    assert before.training == archive.training
    assert after.others["ended"] == "finished"
    # an archive each, in the order of the sessions: together the log of the whole run, nothing twice
    assert without_times(before.training + after.training) == without_times(metrics_of_log(run))


def test_a_signal_while_scoring(hf_finetune, recipe, tmp_path):
    run = tmp_path / "run"
    with file_faults.during("signal", "run/predictions", signals=[TERM]):
        assert hf_finetune("run", recipe, OFFLINE).code == 128 + TERM
    (archive,) = read_archives(run)
    assert archive.training == metrics_of_log(run)
    assert archive.metrics == archive.training
    _, after = resume(hf_finetune, recipe, "trainer", run)
    scores = json.loads((run / "scores.json").read_text())
    told = {name: value for name, value, _ in after.metrics}
    assert told["scores/test/accuracy"] == scores["test"]["accuracy"]


@pytest.mark.parametrize("engine", command.ENGINES)
def test_an_error_leaves_all_so_far(hf_finetune, recipe, tmp_path, engine):
    done = hf_finetune("run", recipe, OFFLINE, f"engine={engine}", "training.learning_rate=1e30")
    assert done.code == 2
    assert "not finite" in done.err
    (archive,) = read_archives(tmp_path / "run")
    assert archive.training == metrics_of_log(tmp_path / "run")
    assert archive.training
    assert archive.others["ended"] == "NonFiniteError"


def test_what_a_killed_process_lost_comes_with_the_resumed_run(hf_finetune, recipe, tmp_path):
    run = tmp_path / "run"
    words = ["training.max_steps=4000", "training.eval_steps=4", "training.save_total_limit=2"]
    child = command.start(["run", recipe, OFFLINE, *words], tmp_path)
    while child.poll() is None and not list(run.glob("checkpoint-*")):
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    command.finish(child)
    assert read_archives(run) == []
    assert len(list((run / "tracking" / "comet").iterdir())) == 1
    done = hf_finetune("run", recipe, OFFLINE, *words, "training.max_steps=12", "--resume")
    assert done.code == 0, done.err
    (archive,) = read_archives(run)
    assert archive.training == metrics_of_log(run)
    assert list_whole(run / "tracking" / "comet") == list((run / "tracking" / "comet").iterdir())


def test_tracking_that_begins_with_the_resumed_run_has_all_of_it(hf_finetune, recipe, tmp_path):
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[TERM]):
        assert hf_finetune("run", recipe, "training.dataloader_num_workers=2").code == 128 + TERM
    (archive,) = resume(hf_finetune, recipe, "accelerate", tmp_path / "run")
    assert archive.training == metrics_of_log(tmp_path / "run")


@pytest.mark.slow
def test_two_processes_stop_together_with_one_archive(recipe, tmp_path):
    words = ["training.per_device_train_batch_size=5", "training.max_steps=4000", "training.eval_steps=4000"]
    child = command.start(["run", recipe, OFFLINE, *words, "--processes", "2"], tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    while child.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
        time.sleep(0.05)
    child.send_signal(TERM)
    assert command.finish(child).code == 128 + TERM
    (archive,) = read_archives(tmp_path / "run")
    assert archive.training == metrics_of_log(tmp_path / "run")


def test_no_key_is_written_anywhere(hf_finetune, recipe, tmp_path, monkeypatch):
    """A key in the environment of an offline run: in no file, in no archive, in nothing printed."""
    key = secrets.token_hex(20)
    monkeypatch.setenv("COMET_API_KEY", key)
    done = hf_finetune("run", recipe, OFFLINE, "training.max_steps=2")
    assert done.code == 0, done.err
    assert key not in done.out + done.err
    (archive,) = read_archives(tmp_path / "run")
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    for content in [*written, *archive.files.values(), json.dumps(archive.messages).encode()]:
        assert key.encode() not in content
