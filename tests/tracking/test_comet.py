"""Comet offline: the archive against the log and the scores, value by value, for both engines."""

import csv
import io
import json
import socket
import subprocess

import pytest
from engine_harness.compare import first_difference
from PIL import Image
from real_runs import command
from tracking.archives import OFFLINE, metrics_of_log, read_archives

from hf_finetune import load_recipe, run
from hf_finetune.formatting import flatten_keys
from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking import comet

TIMES = ("runtime", "per_second")
HOST, USER = "host-of-this-test", "user-of-this-test"


@pytest.fixture(scope="module")
def runs(recipe, tmp_path_factory):
    """Return the run folder of each engine."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("socket.gethostname", "platform.node", "socket.getfqdn"):
            patch.setattr(name, lambda *_: HOST)
        patch.setattr("getpass.getuser", lambda: USER)
        for engine in command.ENGINES:
            folder = tmp_path_factory.mktemp(engine) / "run"
            run(load_recipe(recipe, [OFFLINE, f"engine={engine}", f"training.output_dir={folder}"]))
            folders[engine] = folder
    return folders


@pytest.fixture(scope="module", params=command.ENGINES)
def finished(runs, request):
    return runs[request.param]


@pytest.fixture(scope="module")
def archive(finished):
    (found,) = read_archives(finished)
    return found


def test_every_value_of_the_log_is_in_the_archive(finished, archive):
    assert archive.training == metrics_of_log(finished)
    names = {name for name, _, _ in archive.training}
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "train/epoch", "eval/accuracy"} <= names


def test_both_engines_say_the_same(runs):
    first, second = (read_archives(folder)[0] for folder in runs.values())
    clean = [
        [metric for metric in archive.metrics if not any(word in metric[0] for word in TIMES)]
        for archive in (first, second)
    ]
    assert clean[0] == clean[1]
    assert [m[0] for m in first.metrics] == [m[0] for m in second.metrics]
    assert set(first.uploads) == set(second.uploads)
    told = [dict(archive.parameters) for archive in (first, second)]
    assert told[0].keys() == told[1].keys()
    assert {key for key in told[0] if told[0][key] != told[1][key]} == {"engine", "training.output_dir"}


def test_the_parameters_are_the_resolved_recipe_once(finished, archive):
    recipe = load_recipe(RunFolder(finished).recipe)
    wanted = flatten_keys(recipe.model_dump(mode="json"))
    told = dict(archive.parameters)
    assert len(told) == len(archive.parameters)
    assert told.keys() == wanted.keys()
    assert told["training.learning_rate"] == 3e-3
    for key, value in told.items():
        plain = isinstance(wanted[key], str | int | float)
        assert value == wanted[key] if plain else json.loads(value) == wanted[key], key


def test_the_experiment_is_named_as_the_recipe_says(archive, finished):
    about = archive.about
    assert (about["project_name"], about["workspace"]) == ("digits", "us")
    assert sorted(about["tags"]) == ["deit", "small"]
    assert archive.others["Name"] == "one"
    assert archive.others["ended"] == "finished"
    page = (finished / "report.html").read_text().replace("<wbr>", "")
    assert f"comet upload {finished}/tracking/comet/*.zip" in page
    remembered = json.loads((finished / "tracking" / "trackers.json").read_text())["comet"]
    assert remembered["key"] == about["offline_id"]


def test_the_scores_are_those_of_the_best_model(finished, archive):
    scores = json.loads((finished / "scores.json").read_text())
    best = scores["best"]
    told = {name: (value, step) for name, value, step in archive.metrics if name.startswith("scores/")}
    for split in ("eval", "test"):
        for name, value in scores[split].items():
            assert told[f"scores/{split}/{name}"] == (value, best["step"])
    assert told["scores/best/value"] == (best["value"], best["step"])
    assert told["scores/best/step"] == (best["step"], best["step"])
    assert archive.others["scores/best/metric"] == best["metric"]
    assert ("eval/accuracy", best["value"], best["step"]) in archive.training


def test_confusion_matrix_mistakes_report_and_model(finished, archive):
    scores = json.loads((finished / "scores.json").read_text())
    matrix = json.loads(archive.files["confusion-matrix-test.json"])
    assert matrix["matrix"] == scores["details"]["test"]["confusion_matrix"]
    assert matrix["labels"] == scores["labels"]
    assert archive.files["report.html"] == (finished / "report.html").read_bytes()
    rows = list(csv.DictReader(io.StringIO(archive.files["worst.csv"].decode())))
    assert 1 < len(rows) <= 24
    pictures = [name for kind, name in archive.uploads if kind == "visualization"]
    assert pictures == [f"worst-{rank:02d}.png" for rank in range(1, len(rows) + 1)]
    picture = Image.open(io.BytesIO(archive.files["worst-01.png"]))
    assert len(set(picture.convert("L").tobytes())) > 2  # not a constant: it really shows something
    for path in (finished / "best").iterdir():
        sent = [content for name, content in archive.files.items() if name.endswith(f"best/{path.name}")]
        assert sent == [path.read_bytes()], path.name


def test_nothing_of_the_machine_goes_along_but_its_load(archive):
    kinds = {"log_other", "metric_msg", "parameter_msg", "graph", "file_upload", "html"}
    assert archive.messages.keys() <= kinds
    system = {message["metric"]["metricName"] for message in archive.messages["metric_msg"]}
    assert {name for name in system if name.startswith("sys.cpu.")}
    texts = json.dumps(archive.messages) + "".join(
        content.decode("utf-8", "ignore") for content in archive.files.values()
    )
    assert HOST not in texts
    assert USER not in texts


def test_what_the_recipe_asks_for_is_collected(hf_finetune, recipe, tmp_path):
    (tmp_path / "collected.py").write_text("OWN = 1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "collected.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    (tmp_path / "collected.py").write_text("OWN = 2\n")
    words = "{comet: {mode: offline, collect: [host, packages, code, output, git], log_model: false}}"
    imports = f"imports=[{tmp_path / 'collected.py'}]"
    done = hf_finetune("run", recipe, f"tracking={words}", imports, "training.max_steps=2")
    assert done.code == 0, done.err
    (archive,) = read_archives(tmp_path / "run")
    assert archive.others["hostname"] == socket.gethostname()
    assert {"installed_packages", "standard_output"} <= archive.messages.keys()
    assert b"OWN = 2\n" in archive.files.values()
    (git,) = archive.messages["git_metadata"]
    assert git["git_metadata"]["parent"]
    assert not [kind for kind, _ in archive.uploads if "model" in kind]


def test_the_baseline_and_the_next_run_stay_out(hf_finetune, recipe, tmp_path):
    words = ["baseline=from-scratch", "training.max_steps=4", OFFLINE]
    for name in ("first", "second"):
        done = hf_finetune("run", recipe, *words, f"training.output_dir={name}", f"training.seed={len(name)}")
        assert done.code == 0, done.err
        (archive,) = read_archives(tmp_path / name)
        assert archive.training == metrics_of_log(tmp_path / name)
        scores = json.loads((tmp_path / name / "scores.json").read_text())["baseline"]
        told = {metric: value for metric, value, _ in archive.metrics}
        assert told["scores/baseline/test/accuracy"] == scores["test"]["accuracy"]
    keys = {read_archives(tmp_path / name)[0].about["offline_id"] for name in ("first", "second")}
    assert len(keys) == 2


def test_two_processes_make_one_experiment(recipe, tmp_path):
    halved = "training.per_device_train_batch_size=5"
    done = command.run(["run", recipe, OFFLINE, halved, "--processes", "2"], tmp_path)
    assert done.code == 0, done.err
    assert len(list((tmp_path / "run" / "tracking" / "comet").iterdir())) == 1
    (archive,) = read_archives(tmp_path / "run")
    assert archive.training == metrics_of_log(tmp_path / "run")
    assert "comet upload run/tracking/comet/*.zip" in done.out


def test_a_new_run_forgets_the_old_experiment(hf_finetune, recipe, tmp_path):
    keys = []
    for _ in range(2):
        done = hf_finetune("run", recipe, OFFLINE, "training.max_steps=1", "--overwrite")
        assert done.code == 0, done.err
        (archive,) = read_archives(tmp_path / "run")
        keys.append(archive.about["offline_id"])
    assert keys[0] != keys[1]


def test_check_names_the_trackers(hf_finetune, recipe, tmp_path):
    done = hf_finetune("check", recipe, OFFLINE, "training.report_to=[tensorboard]")
    assert done.code == 0, done.err
    assert "tracking comet, tensorboard" in done.out
    assert not list(tmp_path.iterdir())


def test_the_private_parts_are_as_they_were():
    """comet_ml 3.58 and transformers 5.23: see where each is used."""
    import comet_ml
    from transformers.integrations import CometCallback

    assert callable(comet_ml.OfflineExperiment._start_system_metrics_data_logger)
    assert {"_experiment", "_initialized", "_log_assets"} == set(vars(CometCallback()))
    assert comet.SYSTEM_METRICS


def test_tracking_does_not_touch_the_numbers(runs, expected):
    for folder in runs.values():
        found = command.read_run(folder)
        for part in ("best", "log", "predictions"):
            difference = first_difference(expected[part], found[part])
            assert difference is None, difference
