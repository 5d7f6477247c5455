"""What mean squared and mean absolute error share: a sum and a count for each output."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import evaluate
import numpy as np

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array

__all__ = ["MeanError"]


class MeanError(streaming.StreamingMetric):
    """A mean error over [B] outputs, or with "multilist" over [B, K].

    Sums are kept in double precision, whatever the precision of the outputs.

    Args:
        multioutput: "uniform_average" over the K outputs, or "raw_values" for one error for each.
    """

    description: ClassVar[str]
    reference: ClassVar[str]

    def __init__(self, *, multioutput: str = "uniform_average", **settings: Any) -> None:
        self.multioutput = multioutput
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        kind = "scores" if self.config_name == "multilist" else "score"
        return streaming.describe(
            f"{self.description} multioutput is given at load.",
            predictions=kind,
            references=kind,
            source=f"https://scikit-learn.org/stable/modules/generated/sklearn.metrics.{self.reference}.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.total: Array = np.zeros(1)
        self.num_counted: Array = np.zeros(1, dtype=np.int64)

    def take(self, predictions: Array, references: Array) -> None:
        """Add the errors up."""
        if predictions.shape != references.shape:
            raise ValueError(f"predictions of shape {predictions.shape}, references of {references.shape}")
        columns = (-1, 1) if references.ndim == 1 else references.shape
        expected = references.reshape(columns).astype(np.float64)  # [B, K]
        is_counted = expected != streaming.IGNORED
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite shows in the result
            errors = self.measure(predictions.reshape(columns).astype(np.float64) - expected)
        self.total = self.total + np.where(is_counted, errors, 0.0).sum(axis=0)
        self.num_counted = self.num_counted + is_counted.sum(axis=0)

    def result(self) -> Any:
        """Return the mean error, at least 0, or one for each output."""
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: nothing was counted
            means = self.total / self.num_counted
        return means if self.multioutput == "raw_values" else means.mean()

    @abstractmethod
    def measure(self, difference: Array) -> Array:
        """Return the error of each [B, K] difference."""
