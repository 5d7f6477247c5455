"""Recall: the share of the targets of a class that are found."""

from __future__ import annotations

from sklearn.metrics import recall_score

from hf_finetune.metrics_modules import per_class


class Recall(per_class.PerClassMetric):
    """The `recall_score` of scikit-learn, from counts."""

    function = staticmethod(recall_score)
    description = "Recall: the share of the targets of a class that are found."
