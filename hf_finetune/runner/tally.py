"""Precision, recall and f1 of each class, counted as the batches of an evaluation come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_finetune.formatting import list_some
from hf_finetune.metrics import MetricSet, add_unknown
from hf_finetune.metrics_modules.counts import ClassCounts
from hf_finetune.problems import MULTI, SINGLE, Labels

__all__ = ["ClassTally", "PerClass", "TallyingMetrics", "tell_classes"]

logger = logging.getLogger(__name__)

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class PerClass:
    """How well one class is told from the others; None where there is nothing to divide by.

    Args:
        rows: How many have it.
        precision: Share of the rows predicted as it that are.
        recall: Share of its rows that are predicted as it.
        f1: Their harmonic mean.
    """

    rows: int
    precision: float | None
    recall: float | None
    f1: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"rows": self.rows, "precision": self.precision, "recall": self.recall, "f1": self.f1}


class ClassTally:
    """Counts of each class.

    Args:
        space: What the model can say.
        unknown: Classes that it does not know, which some rows have.

    Attributes:
        own: The classes of the model; empty where nothing is classified.
    """

    def __init__(self, space: Labels, unknown: Iterable[str] = ()) -> None:
        is_classes = space.problem_type in (SINGLE, MULTI)
        self.own: tuple[str, ...] = tuple(space.names) if is_classes else ()
        self._names = [*self.own, *unknown] if is_classes else []
        self._counts = ClassCounts()

    def add(self, prediction: np.ndarray, labels: np.ndarray) -> None:
        """Count one batch: [B] classes, or [B, C] labels 0 or 1; the unknown ones numbered after the own."""
        if not self.own:
            return
        if labels.ndim == 1:
            self._counts.add_classes(prediction, labels)
        else:
            self._counts.add_labels(prediction, labels)

    def score(self) -> dict[str, PerClass]:
        """Return the scores of each class, the model's own first."""
        self._counts.grow(len(self._names))
        table = self._counts.table.T.tolist()
        return {
            name: PerClass(
                rows=hits + misses,
                precision=hits / (hits + false) if hits + false else None,
                recall=hits / (hits + misses) if hits + misses else None,
                f1=2 * hits / (2 * hits + false + misses) if hits + false + misses else None,
            )
            for name, (hits, false, misses) in zip(self._names, table, strict=True)
        }


class TallyingMetrics:
    """The metrics of a recipe, and a tally, over rows of which some may have classes the model does not know.

    Args:
        metrics: Of the recipe.
        tally: Of the classes.
        unknown_labels: (first row, row after the last) -> 0 or 1, [B, U], which unknown classes they have;
            None for no row.
    """

    def __init__(
        self,
        metrics: MetricSet,
        tally: ClassTally,
        unknown_labels: Callable[[int, int], np.ndarray | None] = lambda start, stop: None,
    ) -> None:
        self._metrics, self._tally, self._unknown = metrics, tally, unknown_labels
        self._num_rows = 0

    def update(self, reduced: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        """Take in one batch; batches come in the order of the rows."""
        stop = self._num_rows + len(labels)
        unknown_labels = self._unknown(self._num_rows, stop)
        self._num_rows = stop
        self._metrics.update(reduced, labels, unknown_labels=unknown_labels)
        if self._tally.own:
            prediction = reduced["prediction"]
            if unknown_labels is not None:
                labels = add_unknown(reduced, labels, unknown_labels)
                prediction = np.hstack([prediction, 0 * unknown_labels]) if labels.ndim == 2 else prediction
            self._tally.add(prediction, labels)

    def compute(self) -> dict[str, float]:
        """Return the scores of the metrics."""
        return self._metrics.compute()


def tell_classes(split: str, num_rows: int, absent: Sequence[str], unknown: Mapping[str, int]) -> None:
    """Say how many rows were scored, and which classes are in the model or in the data alone."""
    logger.info("%s: %d rows scored", split, num_rows)
    if absent:
        logger.info("%s: no row has the class %s", split, list_some(absent, SHOWN))
    if unknown:
        listed = ", ".join(f"{name} ({count})" for name, count in [*unknown.items()][:SHOWN])
        logger.warning("%s: labels that the model does not know count as mistakes: %s", split, listed)
