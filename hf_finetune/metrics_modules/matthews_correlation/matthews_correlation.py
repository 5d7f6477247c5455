"""Matthews correlation: how far predictions and targets agree beyond chance, in [-1, 1]."""

from __future__ import annotations

import evaluate
from sklearn.metrics import matthews_corrcoef

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array, PairCounts


class MatthewsCorrelation(streaming.StreamingMetric):
    """The `matthews_corrcoef` of scikit-learn over [B, *] classes, from counts; 0 if one side is constant."""

    def _info(self) -> evaluate.MetricInfo:
        return streaming.describe(
            "How far predicted and true classes agree beyond chance, from -1 to 1.",
            predictions="class",
            references="class",
            source="https://scikit-learn.org/stable/modules/generated/sklearn.metrics.matthews_corrcoef.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.pairs = PairCounts()

    def take(self, predictions: Array, references: Array) -> None:
        """Count the pairs."""
        self.pairs.add(*streaming.pick_counted(predictions, references))

    def result(self) -> float:
        """Return the coefficient."""
        predictions, references, counts = self.pairs.read()
        if not len(counts):
            return float("nan")
        return float(matthews_corrcoef(references, predictions, sample_weight=counts))
