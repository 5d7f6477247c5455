"""ROC AUC: the chance that a positive has a higher score than a negative."""

from __future__ import annotations

import itertools
from typing import Any

import evaluate
import numpy as np
from sklearn.metrics import roc_auc_score

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array, Spool


class RocAuc(streaming.StreamingMetric):
    """The `roc_auc_score` of scikit-learn: [B, *] scores; "multiclass" [B, *, C]; "multilabel" [B, C].

    It needs every score. They lie on the disk; at the end one class after the other is read and sorted, so
    that memory takes one class's column, not the whole. NaN where a class has no positive or no negative.

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
        scores, references = self.scores.read(), self.references.read()  # [N, C] or [N], [N, C] or [N]
        if not len(references):
            return float("nan")
        if self.config_name == "default":
            return _area(references == 1, scores)
        classes = np.arange(scores.shape[1])
        if self.average == "micro":
            targets = references if self.config_name == "multilabel" else references[:, None] == classes
            is_counted = (targets != streaming.IGNORED).ravel()
            return _area(targets.ravel()[is_counted] == 1, scores.ravel()[is_counted])
        if self.config_name == "multiclass" and self.multi_class == "ovo":
            pairs = [_compare(scores, references, a, b) for a, b in itertools.combinations(classes, 2)]
            return _average(np.array(pairs), self.average)
        return _average(np.array([self._against_rest(scores, references, c) for c in classes]), self.average)

    def _against_rest(self, scores: Array, references: Array, c: int) -> tuple[float, int]:
        if self.config_name == "multilabel":
            is_counted = references[:, c] != streaming.IGNORED
            column, is_positive = scores[is_counted, c], references[is_counted, c] == 1
        else:
            column, is_positive = scores[:, c], references == c
        return _area(is_positive, column), int(is_positive.sum())


def _compare(scores: Array, references: Array, a: int, b: int) -> tuple[float, int]:
    """Return how well two classes are told apart, and how many rows they have."""
    rows = np.flatnonzero((references == a) | (references == b))
    is_a = references[rows] == a
    return (_area(is_a, scores[rows, a]) + _area(~is_a, scores[rows, b])) / 2, len(rows)


def _area(is_positive: Array, scores: Array) -> float:
    if is_positive.all() or not is_positive.any() or not np.isfinite(scores).all():
        return float("nan")
    return float(roc_auc_score(is_positive, scores))


def _average(areas: Array, average: str | None) -> Any:
    """Average areas [C, 2] of (area, weight); as in scikit-learn, what has no weight may be NaN."""
    areas, weights = areas.T
    if average is None:
        return areas
    if average == "macro":
        return areas.mean()
    has_weight = weights > 0
    return np.average(areas[has_weight], weights=weights[has_weight]) if has_weight.any() else float("nan")
