"""The metrics that come with the project, and the options a recipe may give them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from hf_finetune.metrics.base import METRICS, Metric, check_problem
from hf_finetune.metrics.modules import BundledMetric
from hf_finetune.metrics_modules.transcripts import NORMALIZERS
from hf_finetune.problems import MULTI, REGRESSION, SINGLE, TEXT, Labels
from hf_finetune.registry import OptionError

__all__: list[str] = []


@METRICS.register("accuracy")
def build_accuracy(space: Labels) -> Metric:
    """Build the share of targets predicted right; of multi-label rows, those with every label right."""
    check_problem(space, SINGLE, MULTI)
    return BundledMetric(
        "accuracy", config=_config(space), greater_is_better=True, takes_unknown=True, is_share=True
    )


@METRICS.register("top_k_accuracy")
def build_top_k_accuracy(space: Labels, *, k: int = 5) -> Metric:
    """Build the share of targets whose class is among the k most probable; called `top_5_accuracy` for k = 5.

    Args:
        space: The targets.
        k: From 1 to one less than there are classes.
    """
    check_problem(space, SINGLE)
    if type(k) is not int or not 1 <= k < space.num_labels:
        raise OptionError(
            f"k must be a whole number from 1 to {space.num_labels - 1}, less than the {space.num_labels} "
            f"classes, not {k!r}",
            option="k",
        )
    return BundledMetric(
        "top_k_accuracy",
        reads="probabilities",
        greater_is_better=True,
        result_name=f"top_{k}_accuracy",
        takes_unknown=True,
        is_share=True,
        k=k,
    )


def build_per_class(
    name: str,
    space: Labels,
    *,
    average: str | None = None,
    labels: Sequence[int | str] | None = None,
    pos_label: int | str | None = None,
    zero_division: float = 0,
) -> Metric:
    """Build F1, precision or recall.

    Args:
        name: Which of them.
        space: The targets.
        average: "binary" (one class of two), "macro", "micro", "weighted", "samples" (multi-label) or "none"
            (one score for each class, among the details). Left out: "binary" for two classes, else "macro".
        labels: The classes to average over, by name or number. Left out: those that occur; all for "none"
            and for multi-label targets.
        pos_label: The class of "binary", by name or number; left out: class 1.
        zero_division: The score of a class with nothing to divide by: 0, 1, or .nan to leave it out.
    """
    check_problem(space, SINGLE, MULTI)
    is_binary = space.problem_type == SINGLE and space.num_labels == 2
    chosen = average if average is not None else "binary" if is_binary else "macro"
    allowed = ["macro", "micro", "weighted", "none"]
    allowed += ["binary"] * is_binary + ["samples"] * (space.problem_type == MULTI)
    _check_choice("average", chosen, allowed)
    if pos_label is not None and chosen != "binary":
        raise OptionError(f"pos_label is for average 'binary', not {chosen!r}", option="pos_label")
    if labels is not None and chosen == "binary":
        raise OptionError("labels has no sense with average 'binary'", option="labels", todo="Use pos_label.")
    is_number = isinstance(zero_division, int | float) and not isinstance(zero_division, bool)
    if not is_number or not (zero_division in (0, 1) or math.isnan(zero_division)):
        raise OptionError(
            f"zero_division must be 0, 1 or .nan, not {zero_division!r}", option="zero_division"
        )
    if chosen == "samples" and math.isnan(zero_division):
        raise OptionError("zero_division must be 0 or 1 with average 'samples'", option="zero_division")
    options: dict[str, Any] = {"zero_division": zero_division, "takes_unknown": True}
    if chosen == "none":
        options |= {"average": None, "labels": list(range(space.num_labels))}
    else:
        options["average"] = chosen
    if labels is not None:
        options["labels"] = _find_classes(labels, space)
    if pos_label is not None:
        options["pos_label"] = _find_class("pos_label", pos_label, space)
    is_scalar = chosen != "none"
    return BundledMetric(name, config=_config(space), greater_is_better=True, is_scalar=is_scalar, **options)


for _name in ("f1", "precision", "recall"):
    METRICS.register(_name)(partial(build_per_class, _name))


@METRICS.register("matthews_correlation")
def build_matthews_correlation(space: Labels) -> Metric:
    """Build the agreement of predicted and true classes beyond chance, from -1 to 1."""
    check_problem(space, SINGLE)
    return BundledMetric("matthews_correlation", greater_is_better=True, takes_unknown=True)


@METRICS.register("roc_auc")
def build_roc_auc(space: Labels, *, average: str | None = None, multi_class: str | None = None) -> Metric:
    """Build the chance that a positive is more probable than a negative.

    NaN, which can choose no best model, where a class has no positive or no negative row.

    Args:
        space: The targets; of two classes the second is the positive one.
        average: "macro" (the default), "weighted", "micro" or "none", over classes; not for two classes.
        multi_class: "ovr" (the default), each class against the rest, or "ovo", each pair of classes; not for
            two classes.
    """
    check_problem(space, SINGLE, MULTI)
    is_binary = space.problem_type == SINGLE and space.num_labels == 2
    is_multi_class = space.problem_type == SINGLE and not is_binary
    if average is not None and is_binary:
        raise OptionError("average has no sense with two classes", option="average", todo="Leave it out.")
    if multi_class is not None and not is_multi_class:
        raise OptionError(
            "multi_class is for three classes or more", option="multi_class", todo="Leave it out."
        )
    multi_class = multi_class if multi_class is not None else "ovr"
    average = average if average is not None else "macro"
    _check_choice("multi_class", multi_class, ["ovr", "ovo"])
    _check_choice(
        "average", average, ["macro", "weighted", *(["micro", "none"] if multi_class == "ovr" else [])]
    )
    return BundledMetric(
        "roc_auc",
        config="multiclass" if is_multi_class else _config(space),
        reads="probabilities",
        column=1 if is_binary else None,
        greater_is_better=True,
        is_scalar=average != "none",
        average=None if average == "none" else average,
        multi_class=multi_class,
    )


@METRICS.register("confusion_matrix")
def build_confusion_matrix(space: Labels) -> Metric:
    """Build the counts [C, C] of true classes (rows) predicted as classes (columns), among the details."""
    check_problem(space, SINGLE)
    return BundledMetric(
        "confusion_matrix", greater_is_better=None, is_scalar=False, num_classes=space.num_labels
    )


def build_mean_error(name: str, space: Labels, *, multioutput: str = "uniform_average") -> Metric:
    """Build the mean squared or mean absolute error.

    Args:
        name: Which of them.
        space: The targets.
        multioutput: "uniform_average" over the outputs, or "raw_values", one for each, among the details.
    """
    check_problem(space, REGRESSION)
    _check_choice("multioutput", multioutput, ["uniform_average", "raw_values"])
    return BundledMetric(
        name,
        config="multilist" if space.num_labels > 1 else None,
        greater_is_better=False,
        is_scalar=multioutput != "raw_values",
        multioutput=multioutput,
    )


for _name in ("mse", "mae"):
    METRICS.register(_name)(partial(build_mean_error, _name))


def build_error_rate(name: str, space: Labels, *, normalizer: str = "none") -> Metric:
    """Build the word or the character error rate of text.

    Args:
        name: Which of them.
        space: The targets.
        normalizer: What makes both texts comparable: "none"; "basic", lower-case without punctuation;
            "whisper" and "whisper_english", those of the Whisper paper for any language and for English.
    """
    check_problem(space, *TEXT)
    _check_choice("normalizer", normalizer, NORMALIZERS)
    return BundledMetric(name, greater_is_better=False, normalizer=normalizer)


for _name in ("wer", "cer"):
    METRICS.register(_name)(partial(build_error_rate, _name))


def _config(space: Labels) -> str | None:
    return "multilabel" if space.problem_type == MULTI else None


def _check_choice(option: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise OptionError(f"{option} must be {' or '.join(allowed)} here, not {value!r}", option=option)


def _find_classes(labels: object, space: Labels) -> list[int]:
    if isinstance(labels, str) or not isinstance(labels, Sequence) or not labels:
        raise OptionError(f"labels must be a list of classes, not {labels!r}", option="labels")
    found = [_find_class("labels", label, space) for label in labels]
    if len(set(found)) < len(found):
        raise OptionError(f"labels has a class twice: {labels!r}", option="labels")
    return found


def _find_class(option: str, label: object, space: Labels) -> int:
    """Return a class's number, given that or its name."""
    if label in space.names:
        return list(space.names).index(str(label))
    if type(label) is int and 0 <= label < space.num_labels:
        return label
    known = ", ".join(space.names[:10]) + (" ..." if len(space.names) > 10 else "")
    raise OptionError(f"{option}: there is no class {label!r}", option=option, todo=f"Known: {known}")
