"""Accuracy: the share of targets predicted right."""

from __future__ import annotations

import evaluate

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array


class Accuracy(streaming.StreamingMetric):
    """The share of [B, *] classes predicted right; with "multilabel" of rows with all [B, C] labels right."""

    def _info(self) -> evaluate.MetricInfo:
        kind = "classes" if self.config_name == "multilabel" else "class"
        return streaming.describe(
            "The share of rows predicted right. In the configuration 'multilabel' a row is right when all of "
            "its labels are.",
            predictions=kind,
            references=kind,
            source="https://scikit-learn.org/stable/modules/generated/sklearn.metrics.accuracy_score.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.num_right, self.num_counted = 0, 0

    def take(self, predictions: Array, references: Array) -> None:
        """Count the right ones."""
        if self.config_name == "multilabel":
            is_ignored = references == streaming.IGNORED
            is_right = ((predictions == references) | is_ignored).all(axis=1)[~is_ignored.all(axis=1)]
        else:
            given, expected = streaming.pick_counted(predictions, references)
            is_right = given == expected
        self.num_right += int(is_right.sum())
        self.num_counted += len(is_right)

    def result(self) -> float:
        """Return the share, in [0, 1]."""
        return self.num_right / self.num_counted if self.num_counted else float("nan")
