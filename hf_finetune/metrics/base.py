"""What a metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from hf_finetune.problems import REGRESSION, TEXT, Labels, refuse_other_problems
from hf_finetune.registry import Registry

__all__ = [
    "METRICS",
    "Array",
    "Metric",
    "check_problem",
]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Metric(ABC):
    """A number, or something larger, over all rows of a split, from batches that are seen once.

    A file of the user's own, named in the recipe's `imports`, adds one. What the recipe says beside the name
    arrives as keyword arguments; a `ValueError` of the constructor becomes a message with the place.

    Attributes:
        greater_is_better: Which way is better; None when it is not known, or has no sense.
        result_name: What its result is called; None for the name in the recipe.
        is_scalar: Whether `compute` returns a number, or numbers by name, that can be logged and can choose
            the best model.
        takes_unknown: Whether it may be given targets of classes that the model does not have, numbered on
            after its own; else it sees the others alone.
        is_share: Whether the result is the share of all rows that are right in some way.
        has_many_results: Whether these are numbers by name, `<metric>_<name>` each; None when not known.

    Example:
        @METRICS.register("error_rate")
        class ErrorRate(Metric):
            greater_is_better = False

            def __init__(self, space, *, in_percent: bool = False):
                self.scale, self.num_wrong, self.num_rows = 100 if in_percent else 1, 0, 0

            def update(self, reduced, labels):
                self.num_wrong += int((reduced["prediction"] != labels).sum())
                self.num_rows += len(labels)

            def compute(self):
                rate, self.num_wrong, self.num_rows = self.num_wrong / self.num_rows, 0, 0
                return self.scale * rate
    """

    greater_is_better: bool | None = None
    result_name: str | None = None
    is_scalar: bool = True
    has_many_results: bool | None = False
    takes_unknown: bool = False
    is_share: bool = False

    @abstractmethod
    def update(self, reduced: Mapping[str, Array], labels: Array) -> None:
        """Take in one batch.

        Args:
            reduced: What the task makes of the logits: "prediction" [B, *] classes, [B, C] labels 0 or 1, or
                [B] or [B, K] numbers, or [B] texts; for classes also "probabilities" [B, *, C].
            labels: The targets, of the predictions' shape; -100 does not count.
        """

    @abstractmethod
    def compute(self) -> Any:
        """Return a number, numbers by name, or what is not a number, over all batches; and forget them."""


METRICS: Registry[Callable[..., Metric]] = Registry("metric")
"""Factories by name: `factory(space, **options) -> Metric`; `space` has what `Labels` says."""


def check_problem(space: Labels, *allowed: str) -> None:
    """Refuse targets that a metric is not for.

    Raises:
        OptionError: The problem type is not among `allowed`.
    """
    fitting = {REGRESSION: "mse or mae", **dict.fromkeys(TEXT, "wer or cer")}
    todo = f"Use for example {fitting.get(space.problem_type, 'accuracy or f1')}."
    refuse_other_problems(space, allowed, todo=todo)
