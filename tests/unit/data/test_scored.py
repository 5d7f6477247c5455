"""Which rows a trained model is scored on: those that are meant, and no others are looked at."""

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, DatasetDict

from hf_finetune.data.scored import Asked, build_scored
from hf_finetune.errors import DataError
from hf_finetune.tasks import TASKS, LabelSpace

PETS = LabelSpace(problem_type="single_label_classification", names=("dog", "cat", "owl"), num_labels=3)
OWN = {"is_other": False, "names_split": False, "is_divided_anew": False, "num_divided": None}


@pytest.fixture
def score(recipe_for, processor, tmp_path):
    """Return a function that takes what is to be scored out of some splits."""

    def make(splits, split=None, *, unknown="refuse", seed=42, data=None, **asked):
        path = tmp_path / "saved"
        DatasetDict(splits).save_to_disk(str(path))
        recipe = recipe_for(path, **(data or {}))
        task = TASKS.get(recipe.task.name)(recipe.task)
        wish = Asked(split=split, **{**OWN, **asked})
        return build_scored(recipe, task, processor, PETS, asked=wish, unknown=unknown, seed=seed)

    return make


def labels_of(found):
    return [int(found.rows[i]["labels"]) for i in range(len(found.rows))]


def test_a_data_set_without_a_train_split_is_numbered_as_the_model_does(score, labelled):
    found = score({"test": labelled([0, 1, 1], ClassLabel(names=["cat", "owl"]))})
    assert (found.name, labels_of(found)) == ("test", [1, 2, 2])
    assert found.notes == ("test: the data set's split 'test'",)


def test_the_other_splits_are_not_looked_at(score, labelled):
    broken = labelled(["cat", "dog"]).cast_column("image", datasets.Image(decode=False))
    broken = broken.map(
        lambda row: {"image": {"bytes": b"no picture", "path": None}}, features=broken.features
    )
    splits = {"train": broken, "test": labelled(["owl", "dog"]), "validation": labelled(["dog", "cat"])}
    assert labels_of(score(splits)) == [2, 0]
    assert labels_of(score(splits, "eval")) == [0, 1]


def test_a_csv_names_the_files_of_its_splits_and_only_those_are_read(
    score, labelled, recipe_for, processor, tmp_path
):
    for i, image in enumerate(labelled(["cat", "dog"])["image"]):
        image.save(tmp_path / f"{i}.png")
    (tmp_path / "test.csv").write_text("image,label\n0.png,cat\n1.png,dog\n")
    files = {"train": "gone.csv", "test": str(tmp_path / "test.csv")}
    recipe = recipe_for("csv", data_files=files, splits={"test": "test"})
    task, wish = TASKS.get(recipe.task.name)(recipe.task), Asked(split=None, **OWN)
    found = build_scored(recipe, task, processor, PETS, asked=wish, unknown="refuse", seed=42)
    assert labels_of(found) == [1, 0]


def test_the_only_split_of_other_data_is_meant_and_the_training_rows_are_not(score, labelled):
    splits = {"train": labelled(["cat", "owl"])}
    assert labels_of(score({"test": labelled(["owl"])}, "eval", is_other=True)) == [2]
    assert labels_of(score(splits, is_other=True)) == [1, 2]
    with pytest.raises(
        DataError, match=r"which rows are to be scored\? the run has no split 'test'.*'train' \(2 rows"
    ):
        score(splits)
    found = score(splits, names_split=True, data={"splits": {"test": "train"}})
    assert labels_of(found) == [1, 2]
    assert found.notes[0].startswith(
        "test: 2 of these rows are in the split that the model was trained on (tr"
    )
    with pytest.raises(DataError, match="the run has no split 'test'"):
        score({"test": labelled(["cat", "dog"])}, data={"splits": {"train": "test", "eval": "test"}})


def test_what_the_run_took_of_its_own_data_is_not_taken_of_others_unasked(score, labelled):
    splits = {"train": labelled(["cat"] * 4 + ["dog"] * 4)}
    sliced = {"splits": {"train": "train[:6]", "test": "train[6:]"}}
    assert len(score(splits, data=sliced).rows) == 2
    with pytest.raises(
        DataError, match=r"the run took 'train\[6:\]' of its own data.*data.splits.test=SPLIT"
    ):
        score(splits, is_other=True, data=sliced)
    assert len(score(splits, is_other=True, names_split=True, data=sliced).rows) == 2
    both = {"train": labelled(["cat"] * 4), "test": labelled(["dog"])}
    with pytest.raises(DataError, match="the run took 'train' of its own data"):
        score(both, is_other=True, data={"splits": {"test": "train"}})
    assert labels_of(score(both, is_other=True, data={"splits": {"test": "validation"}})) == [0]


def test_the_rows_that_were_held_out_are_held_out_again(score, labelled, build, tmp_path):
    names = ["dog", "cat", "owl", "cat"] * 6
    splits = {"train": labelled(names)}
    found = score(splits, "eval", num_divided=24)
    trained = build(tmp_path / "saved")
    assert found.rows.raw.rows.tolist() == trained.eval.raw.rows.tolist()
    expected = [
        trained.labels.names[i] for i in trained.eval.raw.targets.take(trained.eval.raw.rows).tolist()
    ]
    assert [PETS.names[i] for i in labels_of(found)] == expected == [names[i] for i in found.rows.raw.rows]
    for wrong in ({"is_divided_anew": True}, {"num_divided": 23}, {"is_other": True}):
        with pytest.raises(DataError, match="held out"):
            score(splits, "eval", **wrong)


def test_unknown_classes_are_counted_where_that_is_asked_for(score, labelled):
    splits = {"test": labelled(["cow", "cat", "ox", "cow"])}
    with pytest.raises(DataError, match=r"'cow' \(2 labels\), 'ox' \(1 label\)"):
        score(splits)
    found = score(splits, unknown="wrong")
    assert labels_of(found) == [-100, 1, -100, -100]
    np.testing.assert_array_equal(found.unknown_labels(1, 4), [[0, 0], [0, 1], [1, 0]])
