"""MAE: the mean absolute error."""

from __future__ import annotations

import numpy as np

from hf_finetune.metrics_modules import mean_error
from hf_finetune.metrics_modules.counts import Array


class Mae(mean_error.MeanError):
    """The `mean_absolute_error` of scikit-learn, added up batch by batch."""

    description = "The mean absolute error."
    reference = "mean_absolute_error"

    def measure(self, difference: Array) -> Array:
        """Return the absolute differences."""
        return np.abs(difference)
