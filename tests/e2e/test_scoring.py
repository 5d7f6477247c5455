"""What a finished run says of other data, and what of it is safe when a table or a page cannot be written."""

import csv
import json
import math

import pyarrow.parquet as pq
import pytest
from real_runs import command
from real_runs.digits import NUM_ROWS

from hf_finetune.card import card
from hf_finetune.formatting import wilson_interval
from hf_finetune.tasks.image_classification import ImageClassification


def write_table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *rows])


def test_other_data_are_scored_by_the_names_of_the_classes(hf_finetune, run_folder, workshop, tmp_path):
    """The test split as a csv: in another order, by whole numbers, with a class less, with a class more."""
    first = json.loads((run_folder / "scores.json").read_text())["test"]
    files = sorted((workshop / "digits" / "test").rglob("*.png"), reverse=True)
    rows = [(str(file), file.parent.name) for file in files]
    write_table(tmp_path / "other.csv", rows)
    done = hf_finetune("evaluate", "run", "data.path=other.csv")
    assert done.code == 0, done.err
    again = json.loads(done.out)
    assert again["accuracy"] == first["accuracy"]
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-6)
    assert (again["split"], again["rows"], again["absent_classes"]) == ("test", 60, [])
    assert again["interval"]["accuracy"] == list(wilson_interval(first["accuracy"], 60))
    assert "the data set's only split, 'train'" in done.err
    said = pq.read_table(run_folder / "predictions" / "test.parquet").to_pylist()
    for name, one in again["classes"].items():
        right = sum(row["label"] == row["prediction"] == name for row in said)
        there, taken = (sum(row[key] == name for row in said) for key in ("label", "prediction"))
        assert (one["rows"], one["recall"]) == (there, right / there)
        assert one["precision"] == (right / taken if taken else None)

    # by whole numbers alone, as pandas reads them
    write_table(tmp_path / "fewer.csv", [row for row in rows if row[1] not in "07"])
    fewer = json.loads(hf_finetune("evaluate", "run", "data.path=fewer.csv").out)
    kept = [row for row in said if row["label"] not in "07"]
    assert fewer["absent_classes"] == ["0", "7"]
    assert fewer["accuracy"] == sum(row["label"] == row["prediction"] for row in kept) / len(kept)

    write_table(tmp_path / "more.csv", [*rows, (rows[0][0], "ten")])
    done = hf_finetune("evaluate", "run", "data.path=more.csv")
    assert done.code == 2
    assert "'ten' (1 label)" in done.err
    assert "--unknown-labels wrong" in done.err
    done = hf_finetune("evaluate", "run", "data.path=more.csv", "--unknown-labels", "wrong")
    more = json.loads(done.out)
    assert more["accuracy"] == pytest.approx(60 * first["accuracy"] / 61)
    assert more["loss"] == pytest.approx(first["loss"], rel=1e-6)
    assert (more["unknown_classes"], more["known_only"]) == ({"ten": 1}, ["loss"])
    assert more["rows"] == 61


@pytest.mark.parametrize("engine", command.ENGINES)
def test_an_evaluation_is_against_the_true_labels(hf_finetune, recipe, tmp_path, engine):
    words = [f"engine={engine}", "training.label_smoothing_factor=0.4", "training.max_steps=4"]
    done = hf_finetune("run", recipe, *words, "training.metric_for_best_model=loss")
    assert done.code == 0, done.err
    assert done.out.count("60 rows; 95 % interval of the accuracy") == 2
    said = pq.read_table(tmp_path / "run" / "predictions" / "eval.parquet").to_pylist()
    of_truth = [-math.log(row["probabilities"][int(row["label"])]) for row in said]
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["eval"]["loss"] == pytest.approx(sum(of_truth) / len(of_truth), rel=1e-5)
    assert scores["best"]["value"] == scores["eval"]["loss"]


def test_a_run_of_several_labels_that_predicts_none_at_first(hf_finetune, recipe, workshop, tmp_path):
    """Of the first batches of evaluation rows nothing is said; the probabilities are all below one half."""
    for split, part in (("train", "train"), ("test", "validation")):
        with (tmp_path / f"{split}.jsonl").open("w") as file:
            for picture in sorted((workshop / "digits" / part).rglob("*.png")):
                digit = int(picture.parent.name)
                labels = [
                    name for name, has in (("even", digit % 2 == 0), ("round", digit in (0, 6, 8, 9))) if has
                ]
                file.write(json.dumps({"image": str(picture), "label": labels}) + "\n")
    files = "data.data_files={train: train.jsonl, test: test.jsonl}"
    splits = "data.splits={train: train, eval: test, test: test}"
    words = ["data.path=json", files, splits, "metrics=[accuracy]", "training.per_device_eval_batch_size=4"]
    done = hf_finetune("run", recipe, *words, "training.max_steps=1", "training.learning_rate=1e-9")
    assert done.code == 0, done.err
    said = pq.read_table(tmp_path / "run" / "predictions" / "test.parquet").to_pylist()
    assert not any(row["prediction"] for row in said[:4])  # the first batch
    for row in said:
        expected = [name for name, p in zip(("even", "round"), row["probabilities"], strict=True) if p >= 0.5]
        assert row["prediction"] == expected
    schema = pq.read_schema(tmp_path / "run" / "predictions" / "test.parquet")
    assert str(schema.field("prediction").type.value_type) == "string"


def test_scores_are_safe_when_a_table_or_a_page_fails(hf_finetune, recipe, expected, tmp_path, monkeypatch):
    def fail(*args, **others):
        raise ValueError("a defect of ours")

    with monkeypatch.context() as patch:
        patch.setattr(ImageClassification, "tabulate", fail)
        patch.setattr(card, "render_card", fail)
        done = hf_finetune("run", recipe)
    assert done.code == 1
    assert "the run is trained and scored, and best/ and scores.json are whole" in done.err
    assert "predictions/test.parquet: ValueError: a defect of ours" in done.err
    assert "hf-finetune run run/recipe.yaml --resume" in done.err
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["test"]["accuracy"] == expected["scores"]["test"]["accuracy"]
    assert scores["rows"] == {"train": NUM_ROWS["train"], "eval": 60, "test": 60}
    assert not (tmp_path / "run" / "README.md").exists()
    (tmp_path / "run" / "report.html").unlink()
    done = hf_finetune("report", "run")  # what it can of what is there
    assert (done.code, done.out) == (0, "run/report.html\n")
    assert (tmp_path / "run" / "README.md").exists()
    assert "run/predictions/test.parquet is missing" in done.err
    assert hf_finetune("run", "run/recipe.yaml", "--resume").code == 0
    command.assert_same_run(expected, tmp_path / "run")
    assert pq.read_table(tmp_path / "run" / "predictions" / "test.parquet").num_rows == 60
