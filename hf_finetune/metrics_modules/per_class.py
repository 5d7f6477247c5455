"""What F1, precision and recall share: counts of each class, averaged by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import evaluate
import numpy as np
from scipy import sparse  # type: ignore[import-untyped]

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array, ClassCounts

__all__ = ["PerClassMetric"]


class PerClassMetric(streaming.StreamingMetric):
    """A score of each class, averaged over classes: [B, *] classes, or with "multilabel" [B, C] labels.

    Args:
        average: "binary" (the class `pos_label` alone), "micro", "macro", "weighted", None for one score for
            each class, or with "multilabel" also "samples".
        labels: The classes that are averaged over; None takes those that occur (with "multilabel" all).
        pos_label: The class of "binary".
        zero_division: The score of a class that has nothing to divide by: 0, 1, or NaN to leave it out.
    """

    function: ClassVar[Callable[..., Any]]
    description: ClassVar[str]

    def __init__(
        self,
        *,
        average: str | None = "binary",
        labels: Sequence[int] | None = None,
        pos_label: int = 1,
        zero_division: float = 0.0,
        **settings: Any,
    ) -> None:
        self.average, self.labels, self.zero_division = average, labels, float(zero_division)
        if average == "binary":
            self.average, self.labels = "macro", [pos_label]
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        kind = "classes" if self.config_name == "multilabel" else "class"
        name = self.function.__name__
        return streaming.describe(
            f"{self.description} average, labels, pos_label and zero_division are given at load.",
            predictions=kind,
            references=kind,
            source=f"https://scikit-learn.org/stable/modules/generated/sklearn.metrics.{name}.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.counts = ClassCounts()
        self.sum_of_samples, self.num_samples = 0.0, 0

    def take(self, predictions: Array, references: Array) -> None:
        """Count true and false positives and false negatives."""
        if self.config_name != "multilabel":
            self.counts.add_classes(*streaming.pick_counted(predictions, references))
        elif self.average != "samples":
            self.counts.add_labels(predictions, references)
        else:
            self._add_samples(predictions, references)

    def result(self) -> Any:
        """Return the score, in [0, 1], or one for each class."""
        if self.average == "samples":
            return self.sum_of_samples / self.num_samples if self.num_samples else float("nan")
        if not self.counts.table.any():
            return float("nan")
        labels = self._choose_labels()
        self.counts.grow(1 + max(labels))
        # A row of weight n for n true positives of a class, and so on: scikit-learn then counts what we have
        # counted, and does the averaging. The empty last column keeps it multi-label when there is one class.
        num_classes = self.counts.table.shape[1]
        has = sparse.eye_array(num_classes, num_classes + 1, dtype=np.int8, format="csr")
        has_not = sparse.csr_array(has.shape, dtype=np.int8)
        return self.function(
            sparse.vstack([has, has_not, has], format="csr"),
            sparse.vstack([has, has, has_not], format="csr"),
            labels=labels,
            average=self.average,
            sample_weight=self.counts.table.ravel(),
            zero_division=self.zero_division,
        )

    def _choose_labels(self) -> list[int]:
        if self.labels is not None:
            return list(self.labels)
        if self.config_name == "multilabel":
            return list(range(self.counts.table.shape[1]))
        return [int(c) for c in np.flatnonzero(self.counts.table.any(axis=0))]

    def _add_samples(self, predictions: Array, references: Array) -> None:
        is_counted = references != streaming.IGNORED
        rows = is_counted.any(axis=1)
        if not rows.any():
            return
        blank = np.zeros((int(rows.sum()), 1), dtype=np.int8)  # keeps one label multi-label, as above
        mean = self.function(
            np.hstack([(references == 1)[rows], blank]),
            np.hstack([((predictions == 1) & is_counted)[rows], blank]),
            labels=self.labels,
            average="samples",
            zero_division=self.zero_division,
        )
        self.sum_of_samples += float(mean) * len(blank)
        self.num_samples += len(blank)
