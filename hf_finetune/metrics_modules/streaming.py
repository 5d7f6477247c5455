"""What the bundled metrics share: they count as the batches come, and keep no rows.

`evaluate.Metric` writes every row to a file and reads all of them back at the end. The metrics here need far
less: a few counts, whatever the number of rows. They override `add_batch` and `compute`, so there is no cache
file, no lock, and nothing a second process could collide with. `roc_auc` alone needs every score, and keeps
them on the disk (`Spool`).

Shapes: B rows of a batch, N targets that count, C classes or labels, * any further axes (tokens).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import datasets
import evaluate
import numpy as np

from hf_finetune.metrics_modules.counts import Array

__all__ = ["IGNORED", "StreamingMetric", "describe", "pick_counted"]

IGNORED = -100
"""A reference that does not count, as in the losses of torch and transformers."""

FEATURES: dict[str, Any] = {
    "class": datasets.Value("int64"),
    "classes": datasets.Sequence(datasets.Value("int64")),
    "score": datasets.Value("float64"),
    "scores": datasets.Sequence(datasets.Value("float64")),
    "text": datasets.Value("string"),
}


class StreamingMetric(evaluate.Metric, ABC):  # type: ignore[misc]  # evaluate has no types
    """A metric that is told its options when it is loaded and then sees each batch once.

    Raises:
        ValueError: It is one of several processes; whoever feeds it must gather the rows first.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.num_process != 1:
            raise ValueError(f"{self.name} takes rows that are gathered already: load it with num_process=1")
        self.reset()

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Count one batch."""
        given, expected = np.asarray(predictions), np.asarray(references)
        if len(given) != len(expected):
            raise ValueError(f"{self.name} was given {len(given)} predictions for {len(expected)} references")
        self.take(given, expected)

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Count one row."""
        self.add_batch(predictions=[prediction], references=[reference])

    def compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, Any]:
        """Return the result over all rows since the last call, and forget them; NaN where it is undefined."""
        if references is not None:
            self.add_batch(predictions=predictions, references=references)
        try:
            return {self.name: np.asarray(self.result()).tolist()}
        finally:
            self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget all rows."""

    @abstractmethod
    def take(self, predictions: Array, references: Array) -> None:
        """Count one batch."""

    @abstractmethod
    def result(self) -> Any:
        """Return a number or an array over all rows counted."""


def describe(description: str, *, predictions: str, references: str, source: str) -> evaluate.MetricInfo:
    """Return what `evaluate` wants to know about a metric.

    Args:
        description: What it measures, and its options.
        predictions: What a row's prediction is, a key of `FEATURES`.
        references: What a row's reference is, a key of `FEATURES`.
        source: Where it is defined.
    """
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description=f"\npredictions: {predictions} of each row\nreferences: {references} of each row; "
        f"{IGNORED} does not count",
        features=datasets.Features(
            {"predictions": FEATURES[predictions], "references": FEATURES[references]}
        ),
        reference_urls=[source],
    )


def pick_counted(predictions: Array, references: Array) -> tuple[Array, Array]:
    """Return the predictions [N] or [N, C] whose reference counts, and these references [N]."""
    is_counted = references != IGNORED
    return predictions[is_counted], references[is_counted]
