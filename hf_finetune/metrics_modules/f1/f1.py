"""F1: the harmonic mean of precision and recall."""

from __future__ import annotations

from sklearn.metrics import f1_score

from hf_finetune.metrics_modules import per_class


class F1(per_class.PerClassMetric):
    """The `f1_score` of scikit-learn, from counts."""

    function = staticmethod(f1_score)
    description = "F1: the harmonic mean of precision and recall."
