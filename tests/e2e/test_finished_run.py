"""What a finished run leaves: whole, true, and usable by others."""

import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from real_runs import command
from real_runs.digits import NUM_ROWS

import hf_finetune as package
from hf_finetune.engines.checkpoint import list_checkpoints

CLEAN = """
import json, sys
from pathlib import Path
import transformers
best, pictures = sys.argv[1:]
transformers.utils.logging.disable_progress_bar()
model, info = transformers.AutoModelForImageClassification.from_pretrained(best, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"], info
classify = transformers.pipeline("image-classification", model=best, top_k=10)
files = sorted(Path(pictures).rglob("*.png"))
answers = [{answer["label"]: answer["score"] for answer in classify(str(file))} for file in files]
assert "hf_finetune" not in sys.modules  # an editable install has a finder of a similar name
print(json.dumps({file.stem: [file.parent.name, answer] for file, answer in zip(files, answers)}))
"""


def test_every_file_is_there(unbroken):
    names = {str(path.relative_to(unbroken)) for path in unbroken.rglob("*") if path.is_file()}
    assert names >= {
        "recipe.yaml",
        "environment.json",
        "log.jsonl",
        "scores.json",
        "report.html",
        "best/config.json",
        "best/model.safetensors",
        "best/preprocessor_config.json",
        "predictions/eval.parquet",
        "predictions/test.parquet",
        "predictions/worst.parquet",
    }
    assert not [name for name in names if name.endswith(".part") or "/." in f"/{name}"]
    environment = json.loads((unbroken / "environment.json").read_text())
    assert environment["rows"] == {"train": 230, "eval": 60, "test": 60}
    assert environment["seed"] == 42
    assert environment["data_fingerprint"]
    assert environment["num_processes"] == 1


def test_the_best_model_is_what_others_load(unbroken, workshop):
    """In a process that does not know this package: same answers, and so the same best score."""
    words = [sys.executable, "-W", "ignore", "-c", CLEAN, str(unbroken / "best")]
    done = subprocess.run([*words, str(workshop / "digits" / "validation")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    predicted = pq.read_table(unbroken / "predictions" / "eval.parquet").to_pylist()
    assert len(answers) == len(predicted) == NUM_ROWS["validation"]
    chosen = {name: max(answer, key=answer.get) for name, (_, answer) in answers.items()}
    assert len(set(chosen.values())) > 1
    # imagefolder takes the files class by class, by name
    in_order = sorted(answers, key=lambda name: (answers[name][0], f"{name}.png"))
    assert [row["prediction"] for row in predicted] == [chosen[name] for name in in_order]
    accuracy = sum(chosen[name] == answers[name][0] for name in answers) / len(answers)
    best = json.loads((unbroken / "scores.json").read_text())["best"]
    assert (best["metric"], best["value"]) == ("accuracy", accuracy)


def test_scores_log_and_predictions_say_the_same(unbroken):
    scores = json.loads((unbroken / "scores.json").read_text())
    for split in ("eval", "test"):
        rows = pq.read_table(unbroken / "predictions" / f"{split}.parquet").to_pylist()
        right = sum(row["label"] == row["prediction"] for row in rows)
        assert scores[split]["accuracy"] == right / len(rows)
        matrix = scores["details"][split]["confusion_matrix"]
        assert sum(map(sum, matrix)) == len(rows)
        assert sum(matrix[i][i] for i in range(10)) == right
    logged = {e["step"]: e["eval_accuracy"] for e in command.read_log(unbroken) if "eval_accuracy" in e}
    assert scores["best"]["value"] == max(logged.values()) == logged[scores["best"]["step"]]
    assert scores["best"]["value"] == scores["eval"]["accuracy"]


@pytest.mark.parametrize("split", ["eval", "test"])
def test_evaluate_gives_the_same_scores(hf_finetune, run_folder, split):
    done = hf_finetune("evaluate", "run", "--split", split)
    assert done.code == 0, done.err
    again = json.loads(done.out)
    first = json.loads((run_folder / "scores.json").read_text())[split]
    timed = {name for name in first if "runtime" in name or "per_second" in name}
    assert again.keys() >= first.keys() - timed > set()
    assert all(again[name] == first[name] for name in first.keys() - timed)


def test_evaluate_names_what_is_missing(hf_finetune, run_folder):
    assert hf_finetune("evaluate", "run", "--split", "train").code == 2
    (run_folder / "scores.json").unlink()
    done = hf_finetune("evaluate", "run")
    assert done.code == 2
    assert "run: this run is not finished. Finish it: hf-finetune run run/recipe.yaml --resume" in done.err


def test_predict_says_which_file_it_skipped(hf_finetune, run_folder, workshop, tmp_path):
    shutil.copytree(workshop / "digits" / "test" / "3", tmp_path / "files")
    (tmp_path / "files" / "notes.png").write_text("not a picture")
    num_good = len(list((tmp_path / "files").iterdir())) - 1
    done = hf_finetune("predict", "run", "files", "--output", "answers.jsonl")
    assert done.code == 3
    assert "notes.png: skipped" in done.err
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == num_good
    # the same as in the run, whatever else is in the batch
    predicted = pq.read_table(run_folder / "predictions" / "test.parquet").to_pylist()
    before = [row["prediction"] for row in predicted if row["label"] == "3"]
    assert [answer["prediction"] for answer in answers] == before
    (tmp_path / "files" / "notes.png").unlink()
    assert hf_finetune("predict", "run", "files").code == 0


def test_the_recipe_of_the_run_gives_the_run(hf_finetune, run_folder, expected, tmp_path):
    shutil.move(run_folder / "recipe.yaml", tmp_path / "again.yaml")
    assert hf_finetune("run", "again.yaml", "--overwrite").code == 0
    command.assert_same_run(expected, run_folder)


def test_a_run_is_not_replaced_unless_asked(hf_finetune, recipe, run_folder):
    (run_folder / "notes.txt").write_text("mine")
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    done = hf_finetune("run", recipe)
    assert done.code == 2
    assert all(word in done.err for word in ("another run is in this folder", "--resume", "--overwrite"))
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")} == before
    done = hf_finetune("run", recipe, "training.max_steps=2", "training.eval_steps=2", "--overwrite")
    assert done.code == 0
    assert "labels: 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n" in done.err
    assert "digits: 350 files, all used\n" in done.err
    assert [path.name for path in list_checkpoints(run_folder)] == ["checkpoint-2"]
    assert (run_folder / "notes.txt").read_text() == "mine"


def test_check_finds_what_is_wrong_and_changes_nothing(hf_finetune, recipe, workshop, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in workshop.rglob("*")}
    done = hf_finetune("check", recipe)
    assert done.code == 0, done.err
    assert "230 rows" in done.out
    wrong = {
        "training.learning_rat=1": "learning_rate",
        "data.columns.image=picture": "picture",
        "data.splits.train=nothing": "nothing",
        "metrics=[acuracy]": "accuracy",
        "model.checkpoint=./nowhere": "nowhere",
        "training.per_device_train_batch_size=0": "per_device_train_batch_size",
    }
    for change, told in wrong.items():
        done = hf_finetune("check", recipe, change)
        assert done.code == 2, (change, done.err)
        assert told in done.err
        assert "Traceback" not in done.err
    assert {path: path.stat().st_mtime_ns for path in workshop.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_three_lines_of_python(recipe, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = package.run(package.load_recipe(recipe))
    assert result.scores["test"]["accuracy"] == expected["scores"]["test"]["accuracy"]
    assert result.state.global_step == 24
    command.assert_same_run(expected, result.folder.path)
