"""All metrics of a recipe together, as an engine feeds them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from hf_finetune.errors import UserError
from hf_finetune.metrics.base import METRICS, Array, Metric
from hf_finetune.metrics.hub import NAME as HUB
from hf_finetune.metrics.hub import refuse_remote_code
from hf_finetune.metrics.modules import BundledMetric
from hf_finetune.problems import Labels
from hf_finetune.registry import Spec

__all__ = ["MetricSet", "add_unknown", "build_metrics"]


class MetricSet:
    """Metrics by the names of their results.

    Args:
        metrics: In the order of the recipe.

    Attributes:
        names: Of the metrics whose results are numbers: these are logged and can choose the best model.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = dict(metrics)
        self._details: dict[str, Any] = {}
        self.names = tuple(name for name, metric in self._metrics.items() if metric.is_scalar)

    def update(
        self, reduced: Mapping[str, Array], labels: Array, *, unknown_labels: Array | None = None
    ) -> None:
        """Take in one batch, already gathered from all processes.

        Classes that the model does not have are what no prediction says. A metric that takes them counts each
        as one class more, as scikit-learn does; other metrics do not see them.

        Args:
            reduced: What the task makes of the logits, B rows each.
            labels: The targets, B rows; of one label each, -100 where it is of such a class.
            unknown_labels: 0 or 1, [B, U], which classes a row has that the model has not; None for no row.
        """
        full_labels = labels if unknown_labels is None else add_unknown(reduced, labels, unknown_labels)
        full = dict(reduced)
        if unknown_labels is not None and labels.ndim == 2:
            full["prediction"] = np.hstack([reduced["prediction"], np.zeros_like(unknown_labels, np.int64)])
        for metric in self._metrics.values():
            if metric.takes_unknown:
                metric.update(full, full_labels)
            else:
                metric.update(reduced, labels)

    @property
    def shares(self) -> tuple[str, ...]:
        """The results, among `names`, that are a share of all rows: for these an interval can be said."""
        return tuple(name for name in self.names if self._metrics[name].is_share)

    @property
    def names_known_only(self) -> tuple[str, ...]:
        """The results, among `names`, that are over rows and labels of the model's own classes alone."""
        return tuple(name for name in self.names if not self._metrics[name].takes_unknown)

    def compute(self) -> dict[str, float]:
        """Return `{name: number}` over everything since the last call, and forget it. A NaN stays a NaN.

        A metric that returns numbers by name gives `<metric>_<name>` for each; what is not a number goes to
        `details`.
        """
        scores: dict[str, float] = {}
        self._details = {}
        for name, metric in self._metrics.items():
            value = metric.compute()
            if metric.is_scalar:
                self._put(name, value, scores)
            else:
                self._details[name] = _to_plain(value)
        return scores

    def bundled(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return result -> (name, options) of the metrics that come with the project."""
        found = {
            result: metric for result, metric in self._metrics.items() if isinstance(metric, BundledMetric)
        }
        return {result: (metric.name, metric.options) for result, metric in found.items()}

    def details(self) -> dict[str, Any]:
        """Return what the last `compute` found that is not a number, such as a confusion matrix, as lists."""
        return dict(self._details)

    def greater_is_better(self, name: str, *, told: bool | None = None, where: str | None = None) -> bool:
        """Return which way a result is better.

        Args:
            name: "loss" or that of a result, with or without "eval_" before it.
            told: What the recipe says, for a metric that does not know.
            where: Place of the name in the recipe, for the message.

        Raises:
            UserError: No metric has this result, or which way is better is not known.
        """
        plain = name.removeprefix("eval_")
        if plain == "loss":
            return False
        metric = self._find(plain)
        if metric is None:
            choice = ["loss", *self.names]
            near = difflib.get_close_matches(plain, choice, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"no metric of the recipe gives a number {name!r}",
                where=where,
                todo=f"{hint}Known: {', '.join(choice)}",
            )
        if metric.greater_is_better is None and told is not None:
            return told
        if metric.greater_is_better is None:
            raise UserError(
                f"it is not known which way {name!r} is better",
                where=where,
                todo="Say greater_is_better: true or false, under training.",
            )
        return metric.greater_is_better

    def _find(self, result: str) -> Metric | None:
        """Return the metric that gives a result."""
        for name in self.names:
            metric = self._metrics[name]
            is_own = result == name and metric.has_many_results is not True
            is_one_of_many = result.startswith(f"{name}_") and metric.has_many_results is not False
            if is_own or is_one_of_many:
                return metric
        return None

    def _put(self, name: str, value: Any, scores: dict[str, float]) -> None:
        if isinstance(value, Mapping):
            for key, part in value.items():
                self._put(f"{name}_{key}", part, scores)
        elif np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf":
            scores[name] = float(value)
        else:
            self._details[name] = _to_plain(value)


def build_metrics(
    specs: Iterable[Spec],
    space: Labels,
    *,
    where: Callable[[str], str] | None = None,
    trust_remote_code: bool = False,
) -> MetricSet:
    """Build the metrics of a recipe.

    A result has the metric's name. Where a recipe has a metric twice, with other options each, the values of
    the options follow: `f1_macro` and `f1_weighted`.

    Args:
        specs: Names and options.
        space: Problem type, number and names of the labels.
        where: `Recipe.where`.
        trust_remote_code: Whether the user said on the command line that code of the Hub may run.

    Raises:
        UserError: A name or an option is unknown, does not fit the targets, or would run code of the Hub.
    """
    specs = list(specs)
    metrics = []
    for i, spec in enumerate(specs):
        place = _place(i, where)
        if spec.name == HUB and not trust_remote_code:
            refuse_remote_code(spec.options, where=place(""))
        metrics.append(METRICS.build(spec.name, spec.options, space, where=place))
    names = _name_results(specs, metrics)
    for i, name in enumerate(names):
        if name in names[:i] or name == "loss":
            raise UserError(f"two results would be called {name!r}", where=_place(i, where)(""))
    return MetricSet(dict(zip(names, metrics, strict=True)))


def add_unknown(reduced: Mapping[str, Array], labels: Array, unknown_labels: Array) -> Array:
    """Return labels with those that the model does not have: numbered on after its own, or columns more.

    Args:
        reduced: With "probabilities" [B, C].
        labels: [B] with -100 for what the model does not have, or [B, C] labels 0 or 1.
        unknown_labels: 0 or 1, [B, U].
    """
    if labels.ndim == 2:
        return np.hstack([labels, unknown_labels])
    num_own = reduced["probabilities"].shape[-1]
    return np.where(unknown_labels.any(axis=1), num_own + unknown_labels.argmax(axis=1), labels)


def _to_plain(value: Any) -> Any:
    """Return what JSON holds: no other kind of result may cost the scores it is written with."""
    if hasattr(value, "tolist"):  # numbers and arrays of numpy and torch
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _place(i: int, where: Callable[[str], str] | None) -> Callable[[str], str | None]:
    return lambda option: where(f"metrics.{i}.{option}" if option else f"metrics.{i}") if where else None


def _name_results(specs: list[Spec], metrics: list[Metric]) -> list[str]:
    plain = [metric.result_name or spec.name for spec, metric in zip(specs, metrics, strict=True)]
    return [
        name if plain.count(name) == 1 else "_".join([name, *map(_to_word, spec.options.values())])
        for name, spec in zip(plain, specs, strict=True)
    ]


def _to_word(value: object) -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    return re.sub(r"[^\w.-]+", "-", "-".join(map(str, parts)))
