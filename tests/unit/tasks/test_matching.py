"""Labels of any data become the numbers of a trained model, by the names of its classes and nothing else."""

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, List, Value

from hf_finetune.errors import DataError
from hf_finetune.tasks import LabelSpace
from hf_finetune.tasks.matching import match_labels

TEXT, WHOLE, FLOAT, BOOL = Value("string"), Value("int64"), Value("float64"), Value("bool")


def space_of(*names, problem_type="single_label_classification", num_labels=None):
    return LabelSpace(problem_type=problem_type, names=names, num_labels=num_labels or len(names))


PETS = space_of("dog", "cat", "owl")  # text is numbered by first appearance
TAGS = space_of("red", "round", "old", problem_type="multi_label_classification")


def match(values, feature, space, *, unknown="refuse"):
    rows = datasets.Dataset.from_dict(
        {"label": list(values)}, features=datasets.Features({"label": feature})
    ).with_format("arrow")
    return match_labels(
        rows[:]["label"], feature, space, split="test", unknown=unknown, where=lambda key: f"r.yaml:{key}"
    )


def numbers(found):
    return found.targets.take(np.arange(len(found.targets))).tolist()


@pytest.mark.parametrize(
    ("values", "feature", "space", "expected"),
    [
        (["owl", "dog", "cat", "owl"], TEXT, PETS, [2, 0, 1, 2]),
        (["cat"], TEXT, PETS, [1]),
        ([0, 1, 2], ClassLabel(names=["cat", "dog", "owl"]), PETS, [1, 0, 2]),
        ([3, 1], ClassLabel(names=["bear", "cat", "cow", "owl"]), PETS, [2, 1]),  # no row is a bear
        ([7, 3], WHOLE, space_of("3", "7", "12"), [1, 0]),
        (["7", "3"], TEXT, space_of("3", "7", "12"), [1, 0]),
        ([2, 0], WHOLE, space_of("LABEL_0", "LABEL_1", "LABEL_2"), [2, 0]),
        (["LABEL_2"], TEXT, space_of("LABEL_0", "LABEL_1", "LABEL_2"), [2]),
        ([True, False], BOOL, space_of("False", "True"), [1, 0]),
        (["True", "False"], TEXT, space_of("False", "True"), [1, 0]),
        ([["old", "red"], [], ["round"]], List(TEXT), TAGS, [[1, 0, 1], [0, 0, 0], [0, 1, 0]]),
        ([[], []], List(TEXT), TAGS, [[0, 0, 0], [0, 0, 0]]),
        ([[1, 0], [2]], List(ClassLabel(names=["old", "red", "round"])), TAGS, [[1, 0, 1], [0, 1, 0]]),
        (
            [[1, 0], [0, 1]],
            List(WHOLE),
            space_of("0", "1", problem_type="multi_label_classification"),
            [[1, 0], [0, 1]],
        ),
        ([1, 2], WHOLE, space_of(problem_type="regression", num_labels=1), [1.0, 2.0]),
        ([[1.5], [2.5]], List(FLOAT), space_of(problem_type="regression", num_labels=1), [1.5, 2.5]),
        ([[1.5, 2.0]], List(FLOAT), space_of(problem_type="regression", num_labels=2), [[1.5, 2.0]]),
    ],
)
def test_classes_are_found_by_name(values, feature, space, expected):
    found = match(values, feature, space)
    assert numbers(found) == expected
    assert (dict(found.unknown), found.unknown_labels) == ({}, None)


@pytest.mark.parametrize(
    ("values", "feature", "space", "told"),
    [
        (
            ["cat", "cow", "cow", "ox"],
            TEXT,
            PETS,
            r"'cow' \(2 labels\), 'ox' \(1 label\); its classes are 'dog'",
        ),
        (["cat", "dogg"], TEXT, PETS, "Did you mean 'dog' for 'dogg'"),
        ([0, 1], ClassLabel(names=["bear", "cat"]), PETS, r"'bear' \(1 label\)"),
        ([-1, 0], ClassLabel(names=["cat", "dog"]), PETS, "means 'not labelled'"),
        (["cat", None], TEXT, PETS, "row 1: the label is missing"),
        ([0, 1], WHOLE, PETS, "numbers, and which class each stands for is not said"),
        ([0.0, 1.0], FLOAT, PETS, "holds float, and the model was trained for single_label"),
        ([["cat"]], List(TEXT), PETS, "holds lists of text"),
        (["red"], TEXT, TAGS, "holds text, and the model was trained for multi_label"),
        ([["red", "blue"], []], List(TEXT), TAGS, r"'blue' \(1 label\)"),
        ([[1, 0, 0]], List(WHOLE), TAGS, "which class each place stands for is not said"),
        (
            [[1, 0, 0]],
            List(WHOLE),
            space_of("0", "1", problem_type="multi_label_classification"),
            "vectors of 3 labels, and the model has 2",
        ),
        (["a"], TEXT, space_of(problem_type="regression", num_labels=1), "the model gives numbers"),
        (
            [[1.0, 2.0]],
            List(FLOAT),
            space_of(problem_type="regression", num_labels=3),
            "a label is 2 numbers, and the model gives 3",
        ),
        (
            [1.0],
            FLOAT,
            space_of(problem_type="regression", num_labels=2),
            "a label is 1 number, and the model gives 2",
        ),
    ],
)
def test_what_is_no_class_of_the_model_is_refused_with_its_name(values, feature, space, told):
    with pytest.raises(DataError, match=told):
        match(values, feature, space)


@pytest.mark.parametrize("unknown", ["refuse", "wrong"])
@pytest.mark.parametrize(
    ("values", "feature", "space", "told"),
    [
        (["cat", "Dog"], TEXT, PETS, "otherwise than the model's classes: 'Dog' for 'dog'"),
        (["cat", "dog "], TEXT, PETS, "'dog ' for 'dog'"),
        (
            ["cafe\u0301", "the"],
            TEXT,
            space_of("caf\u00e9", "the"),
            "for 'caf\u00e9'",
        ),  # as macOS writes names
        ([1, 2], WHOLE, space_of("01", "2"), "'1' for '01'"),
        (["1.0", "2"], TEXT, space_of("1", "2"), "'1.0' for '1'"),
        (["cow", "ox"], TEXT, PETS, "no label is a class of the model: 'cow'"),
    ],
)
def test_what_somebody_wrote_otherwise_is_no_mistake_of_the_model(values, feature, space, told, unknown):
    with pytest.raises(DataError, match=told):
        match(values, feature, space, unknown=unknown)


def test_unknown_classes_count_as_wrong_where_that_is_asked_for():
    found = match(["owl", "cow", "cat", "ox", "cow"], TEXT, PETS, unknown="wrong")
    assert numbers(found) == [2, -100, 1, -100, -100]
    assert dict(found.unknown) == {"cow": 2, "ox": 1}
    assert found.unknown_labels.take(np.arange(5)).tolist() == [[0, 0], [1, 0], [0, 0], [0, 1], [1, 0]]
    tagged = match([["red", "blue"], [], ["old", "blue", "big"]], List(TEXT), TAGS, unknown="wrong")
    assert numbers(tagged) == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert dict(tagged.unknown) == {"blue": 2, "big": 1}
    assert tagged.unknown_labels.take(np.arange(3)).tolist() == [[1, 0], [0, 0], [1, 1]]
