"""The trackers of `training.report_to`, read back by their own readers, against the log of the run."""

import importlib.util
import json
import os
import signal
import sys
import time
import warnings

import pytest
from real_runs import command
from real_runs.inject import file_faults
from transformers.integrations.integration_utils import rewrite_logs

from hf_finetune.tracking.base import flatten_numbers

BLOCK = 32768

ONCE = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
"""What W&B and trackio are not given as a curve."""

pytestmark = [
    # mlflow 3.17 and wandb 0.31 on python 3.11 and pydantic 2.14
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]


def need(package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'hf-finetune[{package}]'")


def read_entries(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def curves_of_log(run, *, rename=rewrite_logs, without=()):
    """Return what `log.jsonl` says, as curves: name -> [(step, value)]."""
    curves = {}
    for entry in read_entries(run):
        logs = {name: value for name, value in entry.items() if name not in ("step", *without)}
        for name, value in rename(logs).items():
            curves.setdefault(name, []).append((entry["step"], value))
    return curves


def read_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def assert_tensorboard_says_the_log(run):
    told = read_tensorboard(run / "tracking" / "tensorboard")
    scores = json.loads((run / "scores.json").read_text())
    wanted = curves_of_log(run)
    wanted |= {name: [(scores["best"]["step"], x)] for name, x in flatten_numbers(scores).items()}
    assert told.keys() == wanted.keys()
    for name, curve in wanted.items():
        steps, values = zip(*curve, strict=True)
        assert tuple(step for step, _ in told[name]) == steps, name
        # TensorBoard keeps 32 bits
        assert [value for _, value in told[name]] == pytest.approx(values, rel=1e-7), name


@pytest.mark.parametrize("engine", command.ENGINES)
def test_tensorboard(hf_finetune, recipe, tmp_path, engine):
    need("tensorboard")
    run = tmp_path / "run"
    words = ["run", recipe, f"engine={engine}", "training.report_to=tensorboard"]
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[15]):
        assert hf_finetune(*words).code == 143
    done = hf_finetune(*words, "--resume")
    assert done.code == 0, done.err
    assert "tensorboard --logdir run/tracking/tensorboard" in done.out
    assert_tensorboard_says_the_log(run)


def read_records(path):
    """Yield the records of a file in LevelDB's format for logs, after wandb 0.31's own 7 bytes."""
    content, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read_wandb(path):
    """Return the history, the summary and the settings that a file of an offline run holds."""
    from wandb.proto import wandb_internal_pb2

    history, summary, config = [], {}, {}
    for data in read_records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {item.key or "/".join(item.nested_key): item for item in record.history.item}
            history.append({name: json.loads(item.value_json) for name, item in items.items()})
        elif record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for update in (record.run.config.update, record.config.update):
            for item in update:
                config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return history, summary, config


@pytest.mark.parametrize("engine", command.ENGINES)
def test_wandb(hf_finetune, recipe, tmp_path, engine):
    need("wandb")
    run = tmp_path / "run"
    words = ["run", recipe, f"engine={engine}", "training.report_to=wandb"]
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[15]):
        assert hf_finetune(*words).code == 143
    done = hf_finetune(*words, "--resume")
    assert done.code == 0, done.err
    assert "wandb sync run/tracking/wandb/offline-run-*" in done.out
    files = sorted((run / "tracking" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert len({path.stem for path in files}) == 1  # one run, two sessions
    told = {}
    for path in files:
        history, summary, config = read_wandb(path)
        for row in history:
            for name, value in row.items():
                if not name.startswith("_") and name != "train/global_step":
                    told.setdefault(name, []).append((row["train/global_step"], value))
    assert told == curves_of_log(run, without=ONCE)
    scores = json.loads((run / "scores.json").read_text())
    last = [entry for entry in read_entries(run) if "train_loss" in entry][-1]
    assert summary.items() >= flatten_numbers(scores).items()
    assert summary["train_loss"] == last["train_loss"]
    assert config["recipe"]["training"]["learning_rate"] == 3e-3
    assert not list((run / "tracking").rglob("wandb-metadata.json"))
    assert not list((run / "tracking").rglob("requirements.txt"))


def test_wandb_online_needs_a_key_at_once(hf_finetune, recipe, tmp_path, monkeypatch):
    need("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    done = hf_finetune("check", recipe, "training.report_to=wandb")
    assert done.code == 2
    assert "WANDB_API_KEY" in done.err


@pytest.mark.parametrize("engine", command.ENGINES)
def test_mlflow(hf_finetune, recipe, tmp_path, engine):
    need("mlflow")
    run = tmp_path / "run"
    words = ["run", recipe, f"engine={engine}", "training.report_to=mlflow"]
    with file_faults.during("signal", "run/log.jsonl", nth=19, signals=[15]):
        assert hf_finetune(*words).code == 143
    done = hf_finetune(*words, "training.learning_rate=2e-3", "--resume")
    assert done.code == 0, done.err
    assert "mlflow ui --backend-store-uri file:" in done.out
    assert "MLFLOW_TRACKING_URI" not in os.environ
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(f"file:{run / 'tracking' / 'mlflow'}")
        (experiment,) = [e for e in client.search_experiments() if e.name == "huggingface"]
        (kept,) = client.search_runs([experiment.experiment_id])
        told = {
            name: sorted(
                (point.step, point.value) for point in client.get_metric_history(kept.info.run_id, name)
            )
            for name in kept.data.metrics
        }
    scores = json.loads((run / "scores.json").read_text())
    wanted = {name: sorted(curve) for name, curve in curves_of_log(run, rename=dict).items()}
    wanted |= {name: [(scores["best"]["step"], x)] for name, x in flatten_numbers(scores).items()}
    # a curve has the point of the interrupted update once; the log has it once, too
    assert told == wanted
    assert kept.info.status == "FINISHED"
    assert kept.data.params["model.checkpoint"] == str(tmp_path.parent / "workshop" / "deit")
    assert kept.data.params["training.learning_rate"] == "0.003"
    assert not (tmp_path / ".cometml-runs").exists()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "tensorboard"])
def test_a_killed_run_goes_on_as_the_same_one(hf_finetune, recipe, tmp_path, tracker):
    """What the killed process remembered of the run is in the run folder before it trains."""
    need(tracker)
    run = tmp_path / "run"
    words = ["training.max_steps=4000", "training.eval_steps=4", f"training.report_to={tracker}"]
    child = command.start(["run", recipe, *words], tmp_path)
    while child.poll() is None and not list(run.glob("checkpoint-*")):
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    command.finish(child)
    before = json.loads((run / "tracking" / "trackers.json").read_text())[tracker]
    done = hf_finetune("run", recipe, *words, "training.max_steps=12", "--resume")
    assert done.code == 0, done.err
    assert json.loads((run / "tracking" / "trackers.json").read_text())[tracker] == before
    if tracker == "wandb":
        files = list((run / "tracking" / "wandb").glob("offline-run-*/*.wandb"))
        assert {path.stem for path in files} == {f"run-{before['id']}"}
    elif tracker == "mlflow":
        kept = {path.parent.name for path in (run / "tracking" / "mlflow").glob("*/*/meta.yaml")}
        assert kept == {before["run_id"]}
    else:
        assert max(step for step, _ in read_tensorboard(run / "tracking" / tracker)["eval/loss"]) == 12


def test_comet_does_not_listen_to_mlflow(monkeypatch):
    """As in a notebook that imports transformers first: comet_ml's import hook is there already."""
    need("mlflow")
    from comet_ml.monkey_patching import CometModuleFinder

    from hf_finetune.tracking import mlflow

    before = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", [CometModuleFinder(), *before])
    mlflow._prepare_import()
    assert sys.meta_path == before


@pytest.mark.parametrize("engine", command.ENGINES)
def test_trackio(recipe, tmp_path, engine):
    need("trackio")
    run = tmp_path / "run"
    done = command.run(["run", recipe, f"engine={engine}", "training.report_to=trackio"], tmp_path)
    assert done.code == 0, done.err
    import sqlite3

    database = sqlite3.connect(run / "tracking" / "trackio" / "huggingface.db")
    rows = [json.loads(text) for (text,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
    database.close()
    told = {}
    for row in rows:
        for name, value in row.items():
            if "train/global_step" in row and name != "train/global_step":
                told.setdefault(name, []).append((row["train/global_step"], value))
    assert told == curves_of_log(run, without=ONCE)
    scores = flatten_numbers(json.loads((run / "scores.json").read_text()))
    assert scores in rows


def test_all_at_once_beside_comet_keep_out_of_each_other(hf_finetune, recipe, tmp_path):
    from tracking.archives import OFFLINE, metrics_of_log, read_archives

    need("tensorboard")
    done = hf_finetune("run", recipe, OFFLINE, "training.report_to=[tensorboard]", "baseline=from-scratch")
    assert done.code == 0, done.err
    assert_tensorboard_says_the_log(tmp_path / "run")
    (archive,) = read_archives(tmp_path / "run")
    assert archive.training == metrics_of_log(tmp_path / "run")


def test_one_that_fails_costs_nothing_but_itself(hf_finetune, recipe, tmp_path, monkeypatch):
    need("tensorboard")
    monkeypatch.setattr(
        "hf_finetune.tracking.tensorboard.TensorBoard.log_results",
        lambda *_: (_ for _ in ()).throw(OSError("gone")),
    )
    done = hf_finetune("run", recipe, "training.report_to=tensorboard", "training.max_steps=2")
    assert done.code == 0, done.err
    assert "tensorboard: OSError: gone; the run itself is not touched" in done.err
    assert (tmp_path / "run" / "scores.json").exists()
