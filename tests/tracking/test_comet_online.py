"""Comet's unmodified client against a server on loopback: online runs, and the upload of archives."""

import os
import secrets
import subprocess
import sys
import threading
import time

import pytest
from real_runs import command
from real_runs.inject import file_faults
from tracking.archives import OFFLINE, metrics_of_log, read_archives
from tracking.cometd import serve

ONLINE = "tracking={comet: {project: digits}}"
HOST = "host-of-this-test"


@pytest.fixture
def comet(monkeypatch):
    with serve() as server:
        monkeypatch.setattr("socket.gethostname", lambda: HOST)
        monkeypatch.setenv("COMET_URL_OVERRIDE", server.url)
        monkeypatch.setenv("COMET_API_KEY", secrets.token_hex(20))
        yield server


def training_of(experiment):
    return [m for m in experiment.metrics if m[0].startswith(("train/", "eval/"))]


def without_times(metrics):
    return sorted(m for m in metrics if "runtime" not in m[0] and "per_second" not in m[0])


@pytest.mark.parametrize(("first", "second"), [command.ENGINES, command.ENGINES[::-1]])
def test_a_run_and_its_resume_are_one_experiment(hf_finetune, recipe, tmp_path, comet, first, second):
    run = tmp_path / "run"
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[15]):
        done = hf_finetune("run", recipe, ONLINE, f"engine={first}")
    assert done.code == 143, done.err
    (experiment,) = comet.experiments.values()
    assert experiment.is_alive is False
    assert sorted(training_of(experiment)) == sorted(metrics_of_log(run))
    done = hf_finetune("run", recipe, ONLINE, f"engine={second}", "--resume")
    assert done.code == 0, done.err
    assert len(comet.experiments) == 1
    assert without_times(training_of(experiment)) == without_times(metrics_of_log(run))
    assert experiment.parameters["training.learning_rate"] == 3e-3
    assert experiment.is_alive is False
    assert not [body for body in comet.bodies if HOST.encode() in body]
    key = os.environ["COMET_API_KEY"]
    assert key not in done.out + done.err
    assert not [path for path in run.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_the_archives_of_all_sessions_go_to_one_experiment(hf_finetune, recipe, tmp_path, comet):
    run = tmp_path / "run"
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[15]):
        assert hf_finetune("run", recipe, OFFLINE).code == 143
    assert hf_finetune("run", recipe, OFFLINE, "--resume").code == 0
    assert not comet.bodies  # nothing was sent before it is asked for
    archives = sorted(map(str, (run / "tracking" / "comet").glob("*.zip")), reverse=True)  # in any order
    sent = subprocess.run(
        [sys.executable, "-m", "comet_ml.scripts.comet_upload", *archives], capture_output=True, text=True
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr
    (experiment,) = comet.experiments.values()
    assert without_times(training_of(experiment)) == without_times(metrics_of_log(run))


@pytest.mark.slow  # comet_ml takes half a minute to give up
def test_a_network_that_goes_leaves_an_archive_in_the_run_folder(hf_finetune, recipe, tmp_path, monkeypatch):
    serving = (
        "from tracking.cometd import serve\nwith serve() as comet: print(comet.url, flush=True); input()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", serving],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(command.ROOT / "tests")},
    )
    monkeypatch.setenv("COMET_URL_OVERRIDE", server.stdout.readline().strip())
    monkeypatch.setenv("COMET_API_KEY", secrets.token_hex(20))
    run = tmp_path / "run"

    def leave():
        while not (run / "checkpoint-4").exists():
            time.sleep(0.01)
        server.kill()
        server.communicate()

    leaving = threading.Thread(target=leave, daemon=True)
    leaving.start()
    done = hf_finetune("run", recipe, ONLINE)
    leaving.join()
    assert done.code == 0, done.err
    (archive,) = read_archives(run)
    assert sorted(archive.training) == sorted(metrics_of_log(run))


def test_a_workspace_of_somebody_else(hf_finetune, recipe, tmp_path, comet):
    done = hf_finetune("run", recipe, "tracking={comet: {workspace: not-mine}}")
    assert done.code == 2
    assert "Comet did not take the experiment" in done.err
    assert not list((tmp_path / "run").glob("checkpoint-*"))
