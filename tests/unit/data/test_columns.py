"""Columns are inferred where one is meant, and asked for where several could be."""

import datasets
import numpy as np
import pytest

from hf_finetune.data import build_datasets
from hf_finetune.errors import DataError
from hf_finetune.tasks import LabelSpace
from hf_finetune.tasks.image_classification import ImageClassification
from hf_finetune.tasks.labels import LabelTargets


@pytest.fixture
def save(tmp_path):
    def write(data: datasets.Dataset):
        data.save_to_disk(tmp_path / "saved")
        return tmp_path / "saved"

    return write


def test_by_feature(save, labelled, build):
    data = labelled([0, 1] * 5, datasets.ClassLabel(names=["no", "yes"]), note=["x"] * 10, weight=[1.0] * 10)
    data = data.rename_columns({"image": "photo", "label": "answer"})
    assert build(save(data)).columns == {"image": "photo", "label": "answer"}


def test_by_name(save, labelled, build):
    data = labelled([0, 1] * 5, note=["x", "y"] * 5, thumbnail=[b""] * 10)
    assert build(save(data)).columns == {"image": "image", "label": "label"}


def test_the_recipe_has_the_last_word(save, labelled, build):
    data = labelled([0, 1] * 5, note=["x", "y"] * 5)
    assert build(save(data), columns={"label": "note"}).labels.names == ("x", "y")


def test_a_question_names_the_candidates(save, labelled, build):
    coarse, fine = datasets.ClassLabel(num_classes=2), datasets.ClassLabel(num_classes=5)
    data = labelled([0, 1] * 5, fine, coarse_label=[0, 1] * 5).rename_column("label", "fine_label")
    path = save(data.cast_column("coarse_label", coarse))
    question = (
        r"recipe\.yaml:4:1: which column is the label: 'fine_label' \(5 classes\) or "
        r"'coarse_label' \(2 classes\)\? Say so: data: \{columns: \{label: fine_label\}\}"
    )
    with pytest.raises(DataError, match=question):
        build(path)
    assert build(path, columns={"label": "coarse_label"}).labels.num_labels == 2


def test_two_images_are_a_question(save, labelled, pictures, build):
    data = labelled([0, 1] * 5, other=pictures(10)).rename_column("image", "left")
    with pytest.raises(DataError, match=r"which column is the image: 'left' \(Image\) or 'other' \(Image\)"):
        build(save(data))


def test_no_label(save, labelled, build):
    data = labelled([0, 1] * 5).remove_columns("label")
    with pytest.raises(DataError, match=r"no column can be the label; .*a sub-folder of its own"):
        build(save(data))


def test_no_image(save, labelled, build):
    data = labelled([0, 1] * 5, note=["x"] * 10).remove_columns("image")
    with pytest.raises(
        DataError, match=r"no column can be the image; there are label \(integer\), note \(tex"
    ):
        build(save(data))


def test_a_misspelt_label_column(save, labelled, build):
    path = save(labelled([0, 1] * 5, colour=["red", "blue"] * 5))
    with pytest.raises(
        DataError, match=r"recipe\.yaml:7:\d+: .* no column 'color'\. Did you mean 'colour'\?"
    ):
        build(path, columns={"label": "color"})


class Restoring(ImageClassification):
    """A task without a label column: its targets are made of the input."""

    roles = ImageClassification.roles[:1]

    def build_targets(self, columns, feature, *, processor, where):
        sizes = {name: np.array([len(v["bytes"]) for v in c.to_pylist()]) for name, c in columns.items()}
        space = LabelSpace(problem_type="regression", names=(), num_labels=1)
        return space, {name: LabelTargets(values=v.astype(np.float32)) for name, v in sizes.items()}


def test_a_task_may_have_no_label_column(labelled, recipe_for, processor, tmp_path):
    rows = labelled(["cat", "dog"] * 4)
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    recipe = recipe_for(tmp_path / "saved", splits={"eval": "test"})
    splits = build_datasets(recipe, Restoring(recipe.task), processor, seed=0)
    sizes = [
        len(image["bytes"]) for image in rows.cast_column("image", datasets.Image(decode=False))["image"]
    ]
    assert [float(splits.eval[i]["labels"]) for i in range(8)] == sizes
    assert dict(splits.columns) == {"image": "image"}
