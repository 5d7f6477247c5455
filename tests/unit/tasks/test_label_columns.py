"""Label columns of every shape become the numbers that losses and metrics take."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, List, Value

from hf_finetune.errors import DataError
from hf_finetune.tasks.label_columns import build_targets

TEXT = Value("string")
CLASSES = ClassLabel(names=["cat", "dog", "owl"])


def targets_of(train, test=(), feature=None, problem_type=None):
    columns = {}
    for name, values in (("train", train), ("test", test)):
        features = datasets.Features({"label": feature})
        table = datasets.Dataset.from_dict({"label": list(values)}, features=features).with_format("arrow")
        columns[name] = (
            table[:]["label"] if len(table) else pa.chunked_array([], features.arrow_schema[0].type)
        )
    space, targets = build_targets(
        columns, feature, problem_type=problem_type, where=lambda key: f"r.yaml:{key}"
    )
    return space, {name: split.take(np.arange(len(split))) for name, split in targets.items()}


def test_class_labels():
    space, targets = targets_of([2, 0, 1], [1], CLASSES)
    assert (space.problem_type, space.num_labels) == ("single_label_classification", 3)
    assert space.id2label == {0: "cat", 1: "dog", 2: "owl"}
    assert targets["train"].tolist() == [2, 0, 1]
    assert targets["train"].dtype == torch.int64
    assert targets["test"].tolist() == [1]


def test_text_in_order_of_first_appearance():
    space, targets = targets_of(["owl", "cat", "owl"], ["cat", "owl"], Value("string"))
    assert space.names == ("owl", "cat")
    assert targets["train"].tolist() == [0, 1, 0]
    assert targets["test"].tolist() == [1, 0]


def test_integers_in_ascending_order():
    space, targets = targets_of([7, 3, 7], [3], Value("int64"))
    assert space.names == ("3", "7")
    assert targets["train"].tolist() == [1, 0, 1]
    assert targets["test"].tolist() == [0]


def test_yes_or_no():
    space, targets = targets_of([True, False], (), Value("bool"))
    assert space.names == ("False", "True")
    assert targets["train"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("feature", "train"),
    [(List(CLASSES), [[0, 2], [], [1]]), (List(Value("string")), [["cat", "owl"], [], ["dog"]])],
)
def test_several_labels(feature, train):
    space, targets = targets_of(train, train[:1], feature)
    assert space.problem_type == "multi_label_classification"
    hot = dict(zip(space.names, targets["train"].T.tolist(), strict=True))
    assert hot == {"cat": [1, 0, 0], "dog": [0, 0, 1], "owl": [1, 0, 0]}
    assert targets["train"].dtype == torch.float32
    assert targets["test"].shape == (1, 3)


@pytest.mark.parametrize("inner", ["int64", "bool", "float32"])
def test_vectors_of_0_and_1(inner):
    feature = List(Value(inner))
    space, targets = targets_of([[0, 1, 1], [1, 0, 0]], [[0, 0, 0]], feature)
    assert (space.problem_type, space.names) == ("multi_label_classification", ("0", "1", "2"))
    assert targets["train"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert targets["train"].dtype == torch.float32


def test_vectors_of_fixed_length():
    space, targets = targets_of([[0.5, 1.5], [2.0, 3.0]], (), List(Value("float64"), length=2))
    assert (space.problem_type, space.num_labels) == ("regression", 2)
    assert targets["train"].tolist() == [[0.5, 1.5], [2.0, 3.0]]


def test_floats_are_regression():
    space, targets = targets_of([0.5, 2.0], [1.0], Value("float64"))
    assert (space.problem_type, space.names, space.num_labels) == ("regression", (), 1)
    assert targets["train"].tolist() == [0.5, 2.0]
    assert targets["train"].dtype == torch.float32


def test_integers_may_be_regression():
    space, targets = targets_of([5, 2], (), Value("int32"), "regression")
    assert space.problem_type == "regression"
    assert targets["train"].tolist() == [5.0, 2.0]


def test_floats_of_0_and_1_may_be_regression():
    feature = List(Value("float32"))
    assert targets_of([[0, 1], [1, 0]], (), feature, "regression")[0].problem_type == "regression"


@pytest.mark.parametrize(
    ("train", "test", "feature", "problem_type", "message"),
    [
        (
            ["a", "b"],
            ["a", "c"],
            Value("string"),
            None,
            r"test row 1: the label 'c' is not among the 2 labels",
        ),
        (["Cat", "b"], ["cat"], Value("string"), None, r"the label 'cat' is not among.*Did you mean 'Cat'\?"),
        ([1, 2], [1, 2, 3], Value("int64"), None, r"test row 2: the label 3 is not among .*Known: 1, 2"),
        (
            [["a"], ["b"]],
            [["a"], [], ["b", "x"]],
            List(Value("string")),
            None,
            r"test row 2: the label 'x' is",
        ),
        (
            [0, 1],
            [1, -1],
            CLASSES,
            None,
            r"test row 1: the label -1 means 'not labelled'\. Name a split that",
        ),
        (
            ["a", None],
            [],
            Value("string"),
            None,
            r"r\.yaml:data\.columns\.label: train row 1: the label is miss",
        ),
        (
            ["a", "a"],
            [],
            Value("string"),
            None,
            r"every row of the split 'train' has the label 'a': there is no",
        ),
        ([1, 1], [], CLASSES, None, r"every row of the split 'train' has the label 'dog'"),
        (
            [[0, 3]],
            [],
            List(Value("int64")),
            None,
            r"train row 0: .* must be a vector of 0 and 1, got \[0\.0, 3",
        ),
        (
            [[0, 1], [1]],
            [],
            List(Value("int64")),
            None,
            r"train row 1: a label of 1 numbers where the first has 2",
        ),
        ([0.5, float("nan")], [], Value("float32"), None, r"train row 1: the target is nan"),
        (
            ["a", "b"],
            [],
            Value("string"),
            "regression",
            r"r\.yaml:task\.problem_type: the label column holds text",
        ),
        (
            [0, 1],
            [],
            CLASSES,
            "multi_label_classification",
            r"holds 3 classes, which does not fit 'multi_label",
        ),
        ([0.5], [], Value("float32"), "single_label_classification", r"\(it would be 'regression'\)"),
        ([{"a": 1}], [], {"a": Value("int64")}, None, r"a column of dict cannot be a label"),
    ],
)
def test_messages(train, test, feature, problem_type, message):
    with pytest.raises(DataError, match=message):
        targets_of(train, test, feature, problem_type)


def test_content_tells_targets_apart():
    def content(values, rows, feature=TEXT):
        table = datasets.Dataset.from_dict({"x": values}, features=datasets.Features({"x": feature}))
        _, targets = build_targets(
            {"train": table.with_format("arrow")[:]["x"]}, feature, problem_type=None, where=str
        )
        return targets["train"].content(np.array(rows))

    assert content(["a", "b"], [0, 1]) == content(["x", "y"], [0, 1])
    assert content(["a", "b"], [0, 1]) != content(["a", "b"], [1, 0])
    sets = List(Value("string"))
    assert content([["a"], ["b", "a"]], [0, 1], sets) != content([["a", "b"], ["a"]], [0, 1], sets)
