"""Every bundled metric, fed in ragged batches, against scikit-learn on all rows at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from metric_tools import MULTI, REGRESSION, Space, Spec, draw_classes, draw_labels, feed, score
from sklearn.exceptions import UndefinedMetricWarning

from hf_finetune.metrics import build_metrics

SEEDS = range(3)
PER_CLASS = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}


def agree(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_classes", [2, 3, 9])
def test_accuracy(num_classes: int, seed: int) -> None:
    reduced, labels = draw_classes(seed, num_classes)
    agree(
        score("accuracy", Space(num_labels=num_classes), reduced, labels),
        sk.accuracy_score(labels, reduced["prediction"]),
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_labels", [2, 5])
def test_accuracy_of_several_labels(num_labels: int, seed: int) -> None:
    reduced, labels = draw_labels(seed, num_labels)
    theirs = sk.accuracy_score(labels, reduced["prediction"])
    agree(score("accuracy", Space(MULTI, num_labels), reduced, labels), theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_ties_included(k: int, seed: int) -> None:
    reduced, labels = draw_classes(seed, 8)
    theirs = sk.top_k_accuracy_score(labels, reduced["probabilities"], k=k, labels=range(8))
    agree(score("top_k_accuracy", Space(num_labels=8), reduced, labels, k=k), theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("zero_division", [0, 1, math.nan])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", PER_CLASS)
def test_per_class_scores_with_empty_classes(
    name: str, average: str, zero_division: float, seed: int
) -> None:
    """Class 1 is never true, class 4 neither true nor predicted."""
    reduced, labels = draw_classes(seed, 6, never=(4,), in_truth=(1,))
    options = {"average": average, "zero_division": zero_division}
    theirs = PER_CLASS[name](labels, reduced["prediction"], **options)
    agree(score(name, Space(num_labels=6), reduced, labels, **options), theirs)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", PER_CLASS)
def test_per_class_scores_of_chosen_classes(name: str, average: str) -> None:
    reduced, labels = draw_classes(0, 6, never=(5,))
    theirs = PER_CLASS[name](
        labels, reduced["prediction"], average=average, labels=[0, 2, 5], zero_division=0
    )
    ours = score(name, Space(num_labels=6), reduced, labels, average=average, labels=["a", 2, "f"])
    agree(ours, theirs)


@pytest.mark.parametrize("name", PER_CLASS)
def test_one_score_for_each_class(name: str) -> None:
    reduced, labels = draw_classes(0, 6, never=(5,))
    theirs = PER_CLASS[name](labels, reduced["prediction"], average=None, labels=range(6), zero_division=0)
    ours = score(name, Space(num_labels=6), reduced, labels, average="none")
    assert isinstance(ours, list)
    agree(ours, theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("options", "pos_label"), [({}, 1), ({"pos_label": "a"}, 0), ({"average": "binary"}, 1)]
)
@pytest.mark.parametrize("name", PER_CLASS)
def test_per_class_scores_of_two_classes(
    name: str, options: dict[str, Any], pos_label: int, seed: int
) -> None:
    reduced, labels = draw_classes(seed, 2)
    theirs = PER_CLASS[name](labels, reduced["prediction"], pos_label=pos_label)
    agree(score(name, Space(num_labels=2), reduced, labels, **options), theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_labels", [2, 5])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "samples", "none"])
@pytest.mark.parametrize("name", PER_CLASS)
def test_per_class_scores_of_several_labels(name: str, average: str, num_labels: int, seed: int) -> None:
    reduced, labels = draw_labels(seed, num_labels)
    theirs = PER_CLASS[name](
        labels, reduced["prediction"], average=None if average == "none" else average, zero_division=0
    )
    agree(score(name, Space(MULTI, num_labels), reduced, labels, average=average), theirs)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_several_labels_may_be_one(average: str) -> None:
    reduced, labels = draw_labels(0, 1)
    theirs = sk.f1_score(labels[:, 0], reduced["prediction"][:, 0])
    agree(score("f1", Space(MULTI, 1), reduced, labels, average=average), theirs)
    assert 0 < score("f1", Space(MULTI, 1), reduced, labels, average="samples") < 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_classes", [2, 3, 9])
def test_matthews_correlation(num_classes: int, seed: int) -> None:
    reduced, labels = draw_classes(seed, num_classes)
    theirs = sk.matthews_corrcoef(labels, reduced["prediction"])
    agree(score("matthews_correlation", Space(num_labels=num_classes), reduced, labels), theirs)


def test_matthews_correlation_of_a_constant_is_zero() -> None:
    reduced, labels = {"prediction": np.zeros(9, dtype=int)}, np.arange(9) % 3
    assert score("matthews_correlation", Space(), reduced, labels) == 0.0


@pytest.mark.parametrize("seed", SEEDS)
def test_roc_auc_of_two_classes(seed: int) -> None:
    reduced, labels = draw_classes(seed, 2)
    theirs = sk.roc_auc_score(labels, reduced["probabilities"][:, 1])
    agree(score("roc_auc", Space(num_labels=2), reduced, labels), theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("multi_class", "average"),
    [
        ("ovr", "macro"),
        ("ovr", "weighted"),
        ("ovr", "micro"),
        ("ovr", "none"),
        ("ovo", "macro"),
        ("ovo", "weighted"),
    ],
)
def test_roc_auc_of_many_classes(multi_class: str, average: str, seed: int) -> None:
    reduced, labels = draw_classes(seed, 5)
    theirs = sk.roc_auc_score(
        labels,
        reduced["probabilities"],
        multi_class=multi_class,
        average=None if average == "none" else average,
        labels=range(5),
    )
    agree(
        score("roc_auc", Space(num_labels=5), reduced, labels, multi_class=multi_class, average=average),
        theirs,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("average", ["macro", "weighted", "micro", "none"])
def test_roc_auc_of_several_labels(average: str, seed: int) -> None:
    reduced, labels = draw_labels(seed, 2)
    theirs = sk.roc_auc_score(
        labels, reduced["probabilities"], average=None if average == "none" else average
    )
    agree(score("roc_auc", Space(MULTI, 2), reduced, labels, average=average), theirs)


def test_roc_auc_without_a_positive() -> None:
    """As in scikit-learn: the mean is NaN, a weight of 0 leaves the class out."""
    reduced, labels = draw_classes(0, 4, in_truth=(2,))
    space = Space(num_labels=4)
    assert math.isnan(score("roc_auc", space, reduced, labels))
    with pytest.warns(UndefinedMetricWarning):
        theirs = sk.roc_auc_score(
            labels, reduced["probabilities"], multi_class="ovr", average="weighted", labels=range(4)
        )
    agree(score("roc_auc", space, reduced, labels, average="weighted"), theirs)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_confusion_matrix(num_classes: int) -> None:
    reduced, labels = draw_classes(0, num_classes, never=(num_classes - 1,) if num_classes > 2 else ())
    theirs = sk.confusion_matrix(labels, reduced["prediction"], labels=range(num_classes))
    ours = score("confusion_matrix", Space(num_labels=num_classes), reduced, labels)
    assert ours == theirs.tolist()
    assert all(type(count) is int for row in ours for count in row)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize(
    ("name", "function"), [("mse", sk.mean_squared_error), ("mae", sk.mean_absolute_error)]
)
def test_mean_errors(name: str, function: Any, num_outputs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (40,) if num_outputs == 1 else (40, num_outputs)
    labels, predictions = rng.normal(size=shape), rng.normal(size=shape)
    space = Space(REGRESSION, num_outputs)
    agree(score(name, space, {"prediction": predictions}, labels), function(labels, predictions))
    if num_outputs > 1:
        raw = score(name, space, {"prediction": predictions}, labels, multioutput="raw_values")
        agree(raw, function(labels, predictions, multioutput="raw_values"))


def test_mean_errors_are_added_up_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.normal(size=4000).astype("f4"), rng.normal(size=4000).astype("f4")
    theirs = sk.mean_squared_error(labels.astype("f8"), predictions.astype("f8"))
    agree(score("mse", Space(REGRESSION, 1), {"prediction": predictions}, labels), theirs)


def test_many_pairs_are_counted_once_each() -> None:
    """More pairs than are kept waiting before they are merged."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 500, 200_000), rng.integers(0, 500, 200_000)
    space = Space(num_labels=500)
    theirs = sk.confusion_matrix(labels, predictions, labels=range(500))

    metrics = feed(
        build_metrics([Spec("confusion_matrix")], space), {"prediction": predictions}, labels, batch=9_999
    )
    metrics.compute()
    assert metrics.details()["confusion_matrix"] == theirs.tolist()
