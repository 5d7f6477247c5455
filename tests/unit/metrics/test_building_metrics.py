"""What a recipe may say, what results are called, which way is better, and what is not a number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from metric_tools import MULTI, REGRESSION, SINGLE, Space, Spec, draw_classes, feed, score

from hf_finetune.errors import UserError
from hf_finetune.metrics import METRICS, Metric, build_metrics
from hf_finetune.registry import Registry


def where(dotted: str) -> str:
    return f"r.yaml[{dotted}]"


@pytest.mark.parametrize(
    ("spec", "problem_type", "message"),
    [
        (
            Spec("acuracy"),
            SINGLE,
            r"^r.yaml\[metrics.1.name\]: unknown metric 'acuracy'. Did you mean 'accuracy'\?",
        ),
        (
            Spec("f1", {"averag": "macro"}),
            SINGLE,
            r"^r.yaml\[metrics.1.averag\]: the metric 'f1' has no option 'averag'. Did you mean 'average'\? "
            r"Known: average, labels, pos_label, zero_division$",
        ),
        (Spec("accuracy", {"average": "macro"}), SINGLE, r"has no option 'average'. Known: none$"),
        (Spec("f1", {"average": "binary"}), SINGLE, r"^r.yaml\[metrics.1.average\]: .*not 'binary'$"),
        (Spec("f1", {"average": "samples"}), SINGLE, r"not 'samples'$"),
        (Spec("f1", {"average": ["macro"]}), SINGLE, r"not \['macro'\]$"),
        (Spec("f1", {"pos_label": 1}), SINGLE, r"pos_label is for average 'binary', not 'macro'"),
        (Spec("f1", {"labels": []}), SINGLE, r"must be a list of classes, not \[\]"),
        (Spec("f1", {"labels": "a"}), SINGLE, r"must be a list of classes, not 'a'"),
        (Spec("f1", {"labels": ["a", 0]}), SINGLE, r"has a class twice"),
        (
            Spec("f1", {"labels": ["z"]}),
            SINGLE,
            r"^r.yaml\[metrics.1.labels\]: .*no class 'z'. Known: a, b, c$",
        ),
        (Spec("f1", {"labels": [3]}), SINGLE, r"no class 3"),
        (Spec("f1", {"labels": [True]}), SINGLE, r"no class True"),
        (Spec("f1", {"zero_division": 0.5}), SINGLE, r"must be 0, 1 or .nan, not 0.5"),
        (Spec("f1", {"zero_division": "warn"}), SINGLE, r"not 'warn'"),
        (Spec("f1", {"zero_division": True}), SINGLE, r"not True"),
        (Spec("f1", {"average": "samples", "zero_division": math.nan}), MULTI, r"must be 0 or 1"),
        (
            Spec("top_k_accuracy"),
            SINGLE,
            r"^r.yaml\[metrics.1.k\]: .*from 1 to 2, less than the 3 classes, not 5",
        ),
        (Spec("top_k_accuracy", {"k": 0}), SINGLE, r"not 0"),
        (Spec("top_k_accuracy", {"k": True}), SINGLE, r"not True"),
        (Spec("top_k_accuracy", {"k": 1.0}), SINGLE, r"not 1.0"),
        (
            Spec("roc_auc", {"average": "samples"}),
            SINGLE,
            r"average must be macro or weighted or micro or none",
        ),
        (Spec("roc_auc", {"average": "micro", "multi_class": "ovo"}), SINGLE, r"not 'micro'"),
        (Spec("roc_auc", {"multi_class": "ova"}), SINGLE, r"ovr or ovo here, not 'ova'"),
        (Spec("roc_auc", {"multi_class": "ovr"}), MULTI, r"three classes or more. Leave it out"),
        (Spec("mse", {"multioutput": "mean"}), REGRESSION, r"not 'mean'"),
        (
            Spec("accuracy"),
            REGRESSION,
            r"^r.yaml\[metrics.1\]: the metric 'accuracy': it is for single_label_classification or "
            r"multi_label_classification, but the labels are regression. Use for example mse or mae.$",
        ),
        (
            Spec("mse"),
            SINGLE,
            r"it is for regression, but the labels are single_.*Use for example accuracy or f1",
        ),
        (Spec("f1"), REGRESSION, r"the labels are regression"),
        (Spec("matthews_correlation"), MULTI, r"the labels are multi_label"),
        (Spec("confusion_matrix"), MULTI, r"the labels are multi_label"),
        (Spec("top_k_accuracy"), MULTI, r"the labels are multi_label"),
        (Spec("roc_auc"), REGRESSION, r"the labels are regression"),
    ],
)
def test_mistakes_have_a_place(spec: Spec, problem_type: str, message: str) -> None:
    fine = Spec("mae" if problem_type == REGRESSION else "accuracy")
    with pytest.raises(UserError, match=message):
        build_metrics([fine, spec], Space(problem_type), where=where)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [1]}, r"labels has no sense with average 'binary'. Use pos_label"),
        ({"pos_label": "z"}, r"there is no class 'z'. Known: a, b$"),
    ],
)
def test_mistakes_with_two_classes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_metrics([Spec("f1", options)], Space(num_labels=2))
    with pytest.raises(UserError, match="average has no sense with two classes"):
        build_metrics([Spec("roc_auc", {"average": "macro"})], Space(num_labels=2))


def test_results_have_names_of_their_own() -> None:
    specs = [
        Spec("accuracy"),
        Spec("f1"),
        Spec("f1", {"average": "weighted"}),
        Spec("f1", {"average": "macro", "labels": ["a", "b"]}),
        Spec("top_k_accuracy", {"k": 2}),
        Spec("top_k_accuracy", {"k": 1}),
        Spec("recall", {"average": "none"}),
        Spec("confusion_matrix"),
    ]
    metrics = build_metrics(specs, Space())
    names = ["accuracy", "f1", "f1_weighted", "f1_macro_a-b", "top_2_accuracy", "top_1_accuracy"]
    assert list(metrics.names) == names
    scores = feed(metrics, *draw_classes(0, 3)).compute()
    assert list(scores) == names
    assert all(type(value) is float for value in scores.values())
    assert list(metrics.details()) == ["recall", "confusion_matrix"]


def test_a_metric_twice_is_a_mistake() -> None:
    with pytest.raises(UserError, match=r"^r.yaml\[metrics.1\]: two results would be called 'accuracy'$"):
        build_metrics([Spec("accuracy"), Spec("accuracy")], Space(), where=where)


def test_which_way_is_better() -> None:
    classes = build_metrics([Spec("accuracy"), Spec("f1"), Spec("top_k_accuracy", {"k": 2})], Space())
    assert classes.greater_is_better("accuracy")
    assert classes.greater_is_better("eval_top_2_accuracy")
    assert not classes.greater_is_better("eval_loss")
    assert not classes.greater_is_better("loss")
    numbers = build_metrics([Spec("mse"), Spec("mae")], Space(REGRESSION, 1))
    assert not numbers.greater_is_better("mse")
    assert not numbers.greater_is_better("eval_mae")


@pytest.mark.parametrize(
    "name", ["acc", "confusion_matrix", "eval_f1", "", "runtime", "accuracy_macro", "top_1_accuracy"]
)
def test_what_cannot_choose_the_best_model(name: str) -> None:
    metrics = build_metrics([Spec("accuracy"), Spec("confusion_matrix")], Space())
    with pytest.raises(
        UserError, match=r"^r.yaml:7:1: no metric of the recipe gives a number .*Known: loss, acc"
    ):
        metrics.greater_is_better(name, where="r.yaml:7:1")


def test_compute_forgets() -> None:
    names = ["accuracy", "f1", "matthews_correlation", "roc_auc", "confusion_matrix"]
    metrics = build_metrics([Spec(name) for name in names], Space())
    first, again = draw_classes(0, 3), draw_classes(1, 3)
    feed(metrics, *first).compute()
    scores, details = feed(metrics, *again).compute(), metrics.details()
    fresh = build_metrics([Spec(name) for name in names], Space())
    assert scores == feed(fresh, *again).compute()
    assert details == fresh.details()


def test_batches_change_nothing() -> None:
    reduced, labels = draw_classes(0, 4, rows=61)
    specs = [Spec(name) for name in ("accuracy", "f1", "matthews_correlation", "roc_auc")]
    whole, parts, rows = (
        feed(build_metrics(specs, Space(num_labels=4)), reduced, labels, batch=size).compute()
        for size in (61, 7, 1)
    )
    assert whole == parts == rows


def test_nothing_seen_is_nan() -> None:
    for space, names in (
        (Space(num_labels=6), ["accuracy", "f1", "top_k_accuracy", "matthews_correlation", "roc_auc"]),
        (Space(MULTI), ["accuracy", "f1", "roc_auc"]),
        (Space(REGRESSION), ["mse", "mae"]),
    ):
        scores = build_metrics([Spec(name) for name in names], space).compute()
        assert len(scores) == len(names)
        assert all(map(math.isnan, scores.values()))


def test_a_nan_stays_a_nan() -> None:
    labels, bad = np.arange(9) % 3, np.full((9, 3), 1 / 3)
    bad[4, 1] = math.nan
    reduced = {"prediction": bad.argmax(axis=1), "probabilities": bad}
    assert math.isnan(score("roc_auc", Space(), reduced, labels))
    assert math.isnan(score("top_k_accuracy", Space(), reduced, labels, k=1))
    for value in (math.nan, math.inf):
        numbers = {"prediction": np.array([1.0, value, 2.0])}
        assert not math.isfinite(score("mse", Space(REGRESSION, 1), numbers, np.ones(3)))
        assert not math.isfinite(score("mae", Space(REGRESSION, 1), numbers, np.ones(3)))


@pytest.mark.parametrize("name", ["accuracy", "f1", "matthews_correlation", "roc_auc", "confusion_matrix"])
def test_ignored_classes_do_not_count(name: str) -> None:
    reduced, labels = draw_classes(0, 3)
    kept = score(name, Space(), {key: values[20:] for key, values in reduced.items()}, labels[20:])
    labels[:20] = -100
    assert score(name, Space(), reduced, labels) == kept


def test_ignored_labels_do_not_count() -> None:
    space = Space(MULTI, 2)
    labels = np.array([[1, -100], [-100, 0], [0, 1], [-100, -100], [1, 0]], dtype=np.float32)
    prediction = np.array([[1, 1], [1, 0], [1, 1], [0, 1], [0, 0]])
    reduced = {"prediction": prediction, "probabilities": prediction * 0.5 + [[0.3, 0.1]] * 5}
    assert score("accuracy", space, reduced, labels) == 2 / 4
    # label 0: one hit, one false alarm, one miss; label 1: one hit
    assert score("f1", space, reduced, labels, average="none") == [0.5, 1.0]
    assert score("f1", space, reduced, labels, average="samples") == pytest.approx((1 + 0 + 2 / 3 + 0) / 4)
    assert score("roc_auc", space, reduced, labels, average="none") == [0.25, 1.0]


def test_ignored_outputs_do_not_count() -> None:
    labels, given = np.array([[1.0, -100], [3, 5], [-100, 1]]), np.array([[2.0, 9], [3, 7], [9, 1]])
    assert score("mse", Space(REGRESSION, 2), {"prediction": given}, labels, multioutput="raw_values") == [
        0.5,
        2.0,
    ]


def test_tokens_are_targets_too() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, (8, 5)), rng.random((8, 5, 3))
    labels[:, 3:] = -100
    reduced = {"prediction": probabilities.argmax(-1), "probabilities": probabilities}
    flat = {key: values[:, :3].reshape(24, *values.shape[2:]) for key, values in reduced.items()}
    for name, options in (("accuracy", {}), ("f1", {}), ("roc_auc", {}), ("top_k_accuracy", {"k": 2})):
        assert score(name, Space(), reduced, labels, **options) == score(
            name, Space(), flat, labels[:, :3].ravel(), **options
        )


class ErrorRate(Metric):
    """The example of `Metric`, with a second result."""

    greater_is_better = False
    has_many_results = True

    def __init__(self, space: Space, *, in_percent: bool = False) -> None:
        if in_percent not in (True, False):
            raise ValueError("in_percent must be true or false")
        self.scale, self.num_wrong, self.num_rows = 100 if in_percent else 1, 0, 0

    def update(self, reduced: Any, labels: np.ndarray) -> None:
        self.num_wrong += int((reduced["prediction"] != labels).sum())
        self.num_rows += len(labels)

    def compute(self) -> Any:
        rate, rows, self.num_wrong, self.num_rows = self.num_wrong / self.num_rows, self.num_rows, 0, 0
        return {"share": np.float32(self.scale * rate), "rows": rows, "list": [1, 2]}


def test_a_metric_of_the_user_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[Any] = Registry("metric")
    registry._objects.update({name: METRICS.get(name) for name in METRICS})
    monkeypatch.setattr("hf_finetune.metrics.metric_set.METRICS", registry)
    registry.register("error_rate")(ErrorRate)
    metrics = build_metrics([Spec("error_rate", {"in_percent": True})], Space())
    metrics.update({"prediction": np.array([0, 1, 1, 1])}, np.array([0, 0, 1, 1]))
    assert metrics.compute() == {"error_rate_share": 25.0, "error_rate_rows": 4.0}
    assert metrics.details() == {"error_rate_list": [1, 2]}
    assert metrics.greater_is_better("eval_error_rate_share") is False
    with pytest.raises(UserError, match="no metric of the recipe gives a number 'error_rate'"):
        metrics.greater_is_better("error_rate")
    with pytest.raises(
        UserError, match=r"metrics.0\]: the metric 'error_rate': in_percent must be true or false"
    ):
        build_metrics([Spec("error_rate", {"in_percent": 2})], Space(), where=where)
    with pytest.raises(UserError, match=r"metrics.0.percent\]: .*Did you mean 'in_percent'"):
        build_metrics([Spec("error_rate", {"percent": 2})], Space(), where=where)


def test_an_unknown_direction_is_asked_for() -> None:
    metrics = build_metrics([], Space())
    undecided = type(metrics)({"odd": type("Odd", (ErrorRate,), {"greater_is_better": None})(Space())})
    with pytest.raises(
        UserError, match=r"not known which way 'eval_odd_share' is better. Say greater_is_better"
    ):
        undecided.greater_is_better("eval_odd_share")
