"""Label spaces, specs and batches for the tests of the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hf_finetune.metrics import MetricSet, build_metrics

SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
REGRESSION = "regression"


@dataclass
class Spec:
    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Space:
    problem_type: str = SINGLE
    num_labels: int = 3

    @property
    def names(self) -> tuple[str, ...]:
        return (
            () if self.problem_type == REGRESSION else tuple("abcdefghijklmnopqrstuvwxyz"[: self.num_labels])
        )


def feed(
    metrics: MetricSet, reduced: Mapping[str, np.ndarray], labels: np.ndarray, batch: int = 7
) -> MetricSet:
    """Update with batches, the last one short."""
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        metrics.update({key: values[part] for key, values in reduced.items()}, labels[part])
    return metrics


def score(
    name: str, space: Space, reduced: Mapping[str, np.ndarray], truth: np.ndarray, /, **options: Any
) -> Any:
    """Return the one result of one metric, fed batch by batch."""
    metrics = feed(build_metrics([Spec(name, options)], space), reduced, truth)
    (value,) = (metrics.compute() | metrics.details()).values()
    return value


def draw_classes(
    seed: int, num_classes: int, rows: int = 60, never: tuple[int, ...] = (), in_truth: tuple[int, ...] = ()
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw probabilities that are often right; ties included.

    Args:
        never: Classes neither predicted nor true.
        in_truth: Classes never true.
    """
    rng = np.random.default_rng(seed)
    possible = [c for c in range(num_classes) if c not in (*never, *in_truth)]
    labels = rng.choice(possible, rows)
    scores = rng.random((rows, num_classes)).round(1)
    scores[np.arange(rows), labels] += 0.3 * rng.random(rows).round(1)
    scores[:, never] = 0.0
    scores += 1e-3
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    return {"prediction": probabilities.argmax(axis=1), "probabilities": probabilities}, labels


def draw_labels(seed: int, num_labels: int, rows: int = 60) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw probabilities of several labels per row; the last label of more than two is never true."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, num_labels)) < rng.uniform(0.1, 0.9, num_labels)).astype(np.float32)
    if num_labels > 2:
        labels[:, -1] = 0
    probabilities = (0.7 * rng.random((rows, num_labels)) + 0.3 * labels).round(2)
    return {"prediction": (probabilities >= 0.5).astype(np.int64), "probabilities": probabilities}, labels
