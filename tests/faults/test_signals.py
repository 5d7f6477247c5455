"""SIGTERM, Ctrl-C and their like at any time: a short message, the right exit code, a rerun does the rest."""

import os
import shutil
import signal
import time

import pytest
from real_runs import command
from real_runs.inject import file_faults
from transformers import TrainingArguments

from hf_finetune import cli, processes
from hf_finetune.engines import checkpoint
from hf_finetune.engines.ingredients import Guard
from hf_finetune.engines.watch import Watch
from hf_finetune.processes import REPEAT_S, stop_on_signals

INT, TERM, USR1, XCPU = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU


def assert_clean_stop(done: command.Outcome, signum: int) -> None:
    assert done.code == 128 + signum
    assert f"stopped by {signal.Signals(signum).name}" in done.err
    assert "Traceback" not in done.out + done.err


@pytest.mark.parametrize(
    ("signum", "num_logged", "first", "second"),
    [  # an ordinary update; one with an evaluation and a save due
        (TERM, 5, *command.ENGINES),
        (USR1, 19, *command.ENGINES),
        (XCPU, 5, *reversed(command.ENGINES)),
        (INT, 19, *reversed(command.ENGINES)),
    ],
)
def test_training_stops_after_a_checkpoint_and_goes_on_exactly(
    hf_finetune, recipe, expected, tmp_path, signum, first, second, num_logged
):
    with file_faults.during("signal", "run/log.jsonl", nth=num_logged, signals=[signum]):
        done = hf_finetune("run", recipe, f"engine={first}")
    assert_clean_stop(done, signum)
    last = checkpoint.list_checkpoints(tmp_path / "run")[-1]
    assert f"the state is in run/{last.name}" in done.err
    checkpoint.verify(last)
    done = hf_finetune("run", recipe, f"engine={second}", "--resume")
    assert done.code == 0, done.err
    command.assert_same_run(expected, tmp_path / "run")


@pytest.mark.parametrize("engine", command.ENGINES)
def test_the_second_ctrl_c_does_not_wait(hf_finetune, recipe, expected, tmp_path, engine):
    twice = {"signals": [INT, INT], "apart_s": 1.1 * REPEAT_S}
    with file_faults.during("signal", ".partial-checkpoint-8/optimizer.pt", **twice):
        done = hf_finetune("run", recipe, f"engine={engine}")
    assert_clean_stop(done, INT)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path / "run")] == ["checkpoint-4"]
    assert hf_finetune("run", recipe, f"engine={engine}", "--resume").code == 0
    command.assert_same_run(expected, tmp_path / "run")


@pytest.mark.parametrize("engine", command.ENGINES)
@pytest.mark.parametrize("signum", [INT, TERM])
def test_a_signal_that_arrives_twice_is_one(hf_finetune, recipe, expected, tmp_path, engine, signum):
    """From the terminal, and from a launcher that has it from the terminal as well."""
    with file_faults.during("signal", ".partial-checkpoint-8/optimizer.pt", signals=[signum, signum]):
        done = hf_finetune("run", recipe, f"engine={engine}")
    assert_clean_stop(done, signum)
    assert done.err.count("finishing this update") == 1
    last = checkpoint.list_checkpoints(tmp_path / "run")[-1]
    assert last.name == "checkpoint-9"
    checkpoint.verify(last)
    assert hf_finetune("run", recipe, f"engine={engine}", "--resume").code == 0
    command.assert_same_run(expected, tmp_path / "run")


def test_outside_of_training_too_a_repeated_signal_is_one(monkeypatch):
    with stop_on_signals() as received:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), INT)
        os.kill(os.getpid(), INT)  # while what was asked for is being done
        monkeypatch.setattr(processes, "REPEAT_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), INT)
    assert received == [INT, INT]


def test_ctrl_c_while_ctrl_c_is_being_explained(monkeypatch, capfd):
    def stop_twice(words):
        raise KeyboardInterrupt(int(INT))

    monkeypatch.setattr(cli, "app", stop_twice)  # Typer takes the first
    monkeypatch.setattr("sys.argv", ["hf-finetune", "schema"])
    with command.logging_like_the_command(), pytest.raises(SystemExit) as done:
        cli.main()
    assert_clean_stop(command.Outcome(done.value.code, *capfd.readouterr()), INT)


@pytest.mark.parametrize("signum", [INT, TERM])
def test_preparing_the_data(hf_finetune, recipe, tmp_path, monkeypatch, signum):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with file_faults.during("signal", str(tmp_path / "cache"), nth=3, signals=[signum]) as fault:
        done = hf_finetune("run", recipe)
    assert fault.num_seen >= 3
    assert_clean_stop(done, signum)
    assert "no checkpoint was written" in done.err
    assert not (tmp_path / "run" / "recipe.yaml").exists()
    assert hf_finetune("run", recipe, "training.max_steps=1").code == 0


@pytest.mark.parametrize("signum", [INT, TERM])
@pytest.mark.parametrize(
    "moment", ["run/best.part", "run/predictions", "run/scores.json.part", "run/report.html.part"]
)
def test_scoring_is_done_by_the_rerun_without_training_again(
    hf_finetune, recipe, unbroken, expected, tmp_path, signum, moment
):
    with file_faults.during("signal", moment, signals=[signum]):
        done = hf_finetune("run", recipe)
    assert_clean_stop(done, signum)
    assert "the state is in run/checkpoint-24" in done.err
    written = (tmp_path / "run" / "checkpoint-24").stat().st_ino
    done = hf_finetune("run", recipe, "--resume")
    assert done.code == 0, done.err
    assert "resumed at update 24/24" in done.err
    assert (tmp_path / "run" / "checkpoint-24").stat().st_ino == written
    command.assert_same_run(expected, tmp_path / "run")


def test_a_finished_run_is_not_trained_again(hf_finetune, recipe, unbroken, expected, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    done = hf_finetune("run", recipe, "--resume")
    assert done.code == 0, done.err
    assert "update 24/24" in done.err
    command.assert_same_run(expected, tmp_path / "run")


@pytest.mark.parametrize("engine", command.ENGINES)
def test_a_limit_of_one_keeps_the_best_and_the_last(hf_finetune, recipe, tmp_path, engine):
    words = ["run", recipe, f"engine={engine}", "training.save_total_limit=1"]
    words += ["training.load_best_model_at_end=true"]
    assert hf_finetune(*words).code == 0
    whole = command.read_run(tmp_path / "run")
    assert sorted(whole["checkpoints"]) == ["checkpoint-24", "checkpoint-8"]
    for moment in (None, "run/best.part", "run/log.jsonl"):
        if moment is not None:
            nth = {"run/log.jsonl": 14}.get(moment, 1)  # after the best, before the end
            with file_faults.during("signal", moment, signals=[TERM], nth=nth):
                assert_clean_stop(hf_finetune(*words, "--overwrite"), TERM)
        done = hf_finetune(*words, "--resume")
        assert done.code == 0, done.err
        assert ("resumed at update 24/24" in done.err) is (moment != "run/log.jsonl")
        command.assert_same_run(whole, tmp_path / "run")


@pytest.mark.parametrize("signum", [INT, TERM])
def test_the_baseline_is_trained_by_the_rerun(hf_finetune, recipe, expected, tmp_path, signum):
    words = ["run", recipe, "baseline=from-scratch", "training.max_steps=4"]
    with file_faults.during("signal", "run/baseline.log.jsonl", nth=4, signals=[signum]) as fault:
        done = hf_finetune(*words)
    assert fault.num_seen >= 4
    assert_clean_stop(done, signum)
    done = hf_finetune(*words, "--resume")
    assert done.code == 0, done.err
    assert not (tmp_path / "run" / "baseline").exists()
    resumed = command.read_run(tmp_path / "run")
    assert resumed["scores"]["baseline"]["name"] == "from-scratch"
    assert hf_finetune(*words, "--overwrite").code == 0
    command.assert_same_run(resumed, tmp_path / "run")


def test_what_is_ignored_stays_ignored(monkeypatch):
    """`nohup hf-finetune run ...` outlives its terminal, in training and outside of it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with (
            stop_on_signals() as received,
            Watch(Guard(), TrainingArguments("x", use_cpu=True), lambda n: ()) as watch,
        ):
            os.kill(os.getpid(), signal.SIGHUP)
            watch.leave_if_asked()
        assert (received, watch.signum) == ([], None)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with stop_on_signals() as received, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
        assert received == [signal.SIGHUP]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("signum", [INT, USR1])
def test_a_real_process_stops_and_leaves_nothing_running(recipe, tmp_path, signum):
    """From outside, with data workers, in the middle of training."""
    words = ["run", recipe, "training.max_steps=4000", "training.eval_steps=4000"]
    child = command.start([*words, "training.dataloader_num_workers=1", "training.logging_steps=1"], tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    while child.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
        time.sleep(0.02)
    os.killpg(child.pid, signum)  # as a terminal does: to the workers, too
    done = command.finish(child)
    assert_clean_stop(done, signum)
    assert len(checkpoint.list_checkpoints(tmp_path / "run")) == 1
    assert command.list_processes(tmp_path) == []
