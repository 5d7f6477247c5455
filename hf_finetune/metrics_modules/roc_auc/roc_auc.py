"""ROC AUC: the chance that a positive has a higher score than a negative."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import evaluate
import numpy as np

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array, Spool

Pick = Callable[[Array, Array], tuple[Array, Array]]
"""Scores and references of some rows -> scores [N] of one question, and whether each is of a positive [N]."""


class RocAuc(streaming.StreamingMetric):
    """The area over [B, *] scores of class 1; "multiclass" [B, *, C]; "multilabel" [B, C].

    It needs every score, so these lie on the disk, and so do at the end the sorted scores of one class after
    the other: memory does not grow with the rows. NaN where a class has no positive or no negative.

    Args:
        average: "macro", "weighted" (by positives), "micro" (not with "ovo"), or None for one for each class.
        multi_class: "ovr" (each class against the rest) or "ovo" (each pair of classes, Hand and Till 2001).
    """

    def __init__(self, *, average: str | None = "macro", multi_class: str = "ovr", **settings: Any) -> None:
        self.average, self.multi_class = average, multi_class
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        return streaming.describe(
            "The chance that a positive has a higher score than a negative. Scores are those of class 1, or "
            "of every class in the configurations 'multiclass' and 'multilabel'. average and multi_class are "
            "given at load.",
            predictions="score" if self.config_name == "default" else "scores",
            references="classes" if self.config_name == "multilabel" else "class",
            source="https://scikit-learn.org/stable/modules/generated/sklearn.metrics.roc_auc_score.html",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.scores, self.references = Spool(self.data_dir), Spool(self.data_dir)

    def take(self, predictions: Array, references: Array) -> None:
        """Put the scores aside."""
        if self.config_name != "multilabel":
            predictions, references = streaming.pick_counted(predictions, references)
        self.scores.append(predictions)
        self.references.append(references.astype(np.int32))

    def result(self) -> Any:
        """Return the area, in [0, 1], or one for each class."""
        if not len(self.references):
            return float("nan")
        if self.config_name == "default":
            return self._measure(_pick_one)[0]
        classes = range(self.scores.row_shape[0])
        if self.average == "micro":
            return self._measure(_pick_all)[0]
        if self.config_name == "multiclass" and self.multi_class == "ovo":
            return self._average([self._tell_apart(a, b) for a, b in itertools.combinations(classes, 2)])
        pick = _pick_label if self.config_name == "multilabel" else _pick_class
        return self._average([self._measure(pick(c))[:2] for c in classes])

    def _measure(self, pick: Pick) -> tuple[float, int, int]:
        """Return the area of one question, and how many positives and negatives it has."""
        positives, negatives = Spool(self.data_dir), Spool(self.data_dir)
        is_finite = True
        for rows in zip(self.scores.read_parts(), self.references.read_parts(), strict=True):
            scores, is_positive = pick(*rows)
            is_finite &= bool(np.isfinite(scores).all())
            positives.append(scores[is_positive])
            negatives.append(scores[~is_positive])
        num_pairs = len(positives) * len(negatives)
        if not num_pairs or not is_finite:
            return float("nan"), len(positives), len(negatives)
        below = negatives.sort()
        # a pair is won by the positive, or half won when it is a tie: Mann and Whitney 1947
        halves_won = sum(
            int(np.searchsorted(below, part, side).sum())
            for part in positives.read_parts()
            for side in ("left", "right")
        )
        return halves_won / (2 * num_pairs), len(positives), len(negatives)

    def _tell_apart(self, a: int, b: int) -> tuple[float, int]:
        """Return how well two classes are told apart by the scores of either, and how many rows they have."""
        of_a, num_a, num_b = self._measure(_pick_pair(a, b))
        return (of_a + self._measure(_pick_pair(b, a))[0]) / 2, num_a + num_b

    def _average(self, areas: list[tuple[float, int]]) -> Any:
        """Average (area, weight); as in scikit-learn, an area without weight may be NaN."""
        values, weights = np.array(areas).T
        if self.average is None:
            return values
        if self.average == "macro":
            return values.mean()
        has_weight = weights > 0
        if not has_weight.any():
            return float("nan")
        return np.average(values[has_weight], weights=weights[has_weight])


def _pick_one(scores: Array, references: Array) -> tuple[Array, Array]:
    return scores, references == 1


def _pick_all(scores: Array, references: Array) -> tuple[Array, Array]:
    if references.ndim == 1:
        references = (references[:, None] == np.arange(scores.shape[1])).astype(np.int32)
    is_counted = references != streaming.IGNORED
    return scores[is_counted], references[is_counted] == 1


def _pick_class(c: int) -> Pick:
    return lambda scores, references: (scores[:, c], references == c)


def _pick_label(c: int) -> Pick:
    def pick(scores: Array, references: Array) -> tuple[Array, Array]:
        is_counted = references[:, c] != streaming.IGNORED
        return scores[is_counted, c], references[is_counted, c] == 1

    return pick


def _pick_pair(a: int, b: int) -> Pick:
    def pick(scores: Array, references: Array) -> tuple[Array, Array]:
        rows = (references == a) | (references == b)
        return scores[rows, a], references[rows] == a

    return pick
