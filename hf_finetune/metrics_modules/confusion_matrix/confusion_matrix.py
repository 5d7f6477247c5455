"""Confusion matrix: how often each true class was predicted as each class."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array, PairCounts


class ConfusionMatrix(streaming.StreamingMetric):
    """Counts [C, C] of (true class, predicted class) over [B, *] classes.

    Args:
        num_classes: C; None takes the largest class that occurs.
    """

    def __init__(self, *, num_classes: int | None = None, **settings: Any) -> None:
        self.num_classes = num_classes
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        return streaming.describe(
            "Counts of true classes (rows) predicted as classes (columns); num_classes is given at load.",
            predictions="class",
            references="class",
            source="https://scikit-learn.org/stable/modules/generated/sklearn.metrics.confusion_matrix.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.pairs = PairCounts()

    def take(self, predictions: Array, references: Array) -> None:
        """Count the pairs."""
        self.pairs.add(*streaming.pick_counted(predictions, references))

    def result(self) -> Array:
        """Return the counts."""
        predictions, references, counts = self.pairs.read()
        size = self.num_classes or 1 + int(max(predictions.max(initial=-1), references.max(initial=-1)))
        matrix = np.zeros((size, size), dtype=np.int64)
        matrix[references, predictions] = counts
        return matrix
