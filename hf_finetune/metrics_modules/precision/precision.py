"""Precision: the share of the predictions of a class that are right."""

from __future__ import annotations

from sklearn.metrics import precision_score

from hf_finetune.metrics_modules import per_class


class Precision(per_class.PerClassMetric):
    """The `precision_score` of scikit-learn, from counts."""

    function = staticmethod(precision_score)
    description = "Precision: the share of the predictions of a class that are right."
