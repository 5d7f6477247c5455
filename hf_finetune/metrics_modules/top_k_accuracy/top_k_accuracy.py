"""Top-k accuracy: the share of targets whose class is among the k with the highest scores."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array


class TopKAccuracy(streaming.StreamingMetric):
    """The share of targets whose class is among the k best of [B, *, C] scores.

    Of equal scores the later class comes first, as in scikit-learn. NaN when a score is NaN. A class that is
    numbered beyond the scores is never among the best.

    Args:
        k: At least 1.
    """

    def __init__(self, *, k: int = 5, **settings: Any) -> None:
        self.k = k
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        return streaming.describe(
            "The share of rows whose class is among the k with the highest scores; k is given at load.",
            predictions="scores",
            references="class",
            source="https://scikit-learn.org/stable/modules/generated/sklearn.metrics.top_k_accuracy_score.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.num_hits, self.num_counted = 0.0, 0

    def take(self, predictions: Array, references: Array) -> None:
        """Count the hits."""
        scores, classes = streaming.pick_counted(predictions, references)  # [N, C], [N]
        if np.isnan(scores).any():
            self.num_hits = float("nan")
        self.num_counted += len(classes)
        has_score = classes < scores.shape[1]
        scores, classes = scores[has_score], classes[has_score]
        own = np.take_along_axis(scores, classes[:, None], axis=1)
        is_before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) > classes[:, None]))
        self.num_hits += int((is_before.sum(axis=1) < self.k).sum())

    def result(self) -> float:
        """Return the share, in [0, 1]."""
        return self.num_hits / self.num_counted if self.num_counted else float("nan")
