"""Rows of classes that a model does not have: scored as scikit-learn scores the same rows by name."""

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_finetune.metrics import build_metrics
from hf_finetune.recipe import NamedSpec
from hf_finetune.runner.tally import ClassTally, TallyingMetrics
from hf_finetune.tasks import LabelSpace

NAMES = ("ant", "bee", "cat")
TRUE = np.array(["ant", "bee", "cow", "cat", "ox", "cow", "bee", "ant"])
SAID = np.array(["ant", "cat", "ant", "cat", "bee", "cat", "bee", "bee"])
UNKNOWN = {"cow": 2, "ox": 1}


def feed(kind, specs, prediction, probabilities, labels, unknown_labels):
    space = LabelSpace(problem_type=kind, names=NAMES, num_labels=3)
    metrics = build_metrics([NamedSpec(name=name, options=options) for name, options in specs], space)
    tally = ClassTally(space, UNKNOWN)
    fed = TallyingMetrics(metrics, tally, lambda start, stop: unknown_labels[start:stop])
    for part in (slice(0, 3), slice(3, None)):  # batches
        fed.update({"prediction": prediction[part], "probabilities": probabilities[part]}, labels[part])
    return fed.compute(), metrics, tally.score()


def test_single_label_scores_are_those_of_scikit_learn():
    unknown_labels = np.stack([TRUE == "cow", TRUE == "ox"], axis=1).astype(int)
    labels = np.array([NAMES.index(name) if name in NAMES else -100 for name in TRUE])
    prediction = np.array([NAMES.index(name) for name in SAID])
    probabilities = 0.1 + 0.7 * np.eye(3)[prediction]
    specs = [("accuracy", {}), ("f1", {"average": "macro"}), ("f1", {"average": "weighted"})]
    specs += [("matthews_correlation", {}), ("top_k_accuracy", {"k": 1}), ("roc_auc", {})]
    scores, metrics, classes = feed(
        "single_label_classification", specs, prediction, probabilities, labels, unknown_labels
    )
    known = labels >= 0
    assert scores == pytest.approx(
        {
            "accuracy": 3 / 8,
            "f1_macro": sk.f1_score(TRUE, SAID, average="macro", zero_division=0),
            "f1_weighted": sk.f1_score(TRUE, SAID, average="weighted", zero_division=0),
            "matthews_correlation": sk.matthews_corrcoef(TRUE, SAID),
            "top_1_accuracy": 3 / 8,
            "roc_auc": sk.roc_auc_score(labels[known], probabilities[known], multi_class="ovr"),
        }
    )
    assert metrics.names_known_only == ("roc_auc",)
    assert metrics.shares == ("accuracy", "top_1_accuracy")
    assert {name: one.rows for name, one in classes.items()} == {
        "ant": 2,
        "bee": 2,
        "cat": 1,
        "cow": 2,
        "ox": 1,
    }
    precision, recall, f1, _ = sk.precision_recall_fscore_support(TRUE, SAID, labels=["ant"])
    assert (classes["ant"].precision, classes["ant"].recall) == (precision[0], recall[0])
    assert classes["ant"].f1 == pytest.approx(f1[0])
    assert (classes["ox"].precision, classes["ox"].recall, classes["ox"].f1) == (None, 0, 0)


def test_multi_label_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, prediction = rng.integers(0, 2, (2, 12, 3))
    prediction[:4] = labels[:4]
    unknown_labels = np.zeros((12, 2), int)
    unknown_labels[[0, 5], 0] = unknown_labels[6, 1] = 1
    specs = [("accuracy", {}), ("f1", {"average": "macro"})]
    scores, _, classes = feed(
        "multi_label_classification", specs, prediction, prediction.astype(float), labels, unknown_labels
    )
    full, said = np.hstack([labels, unknown_labels]), np.hstack([prediction, 0 * unknown_labels])
    assert scores["accuracy"] == sk.accuracy_score(full, said)
    assert scores["accuracy"] < sk.accuracy_score(labels, prediction)  # row 0 cannot be right
    assert scores["f1"] == pytest.approx(sk.f1_score(full, said, average="macro", zero_division=0))
    assert (classes["cow"].rows, classes["cow"].recall) == (2, 0)
