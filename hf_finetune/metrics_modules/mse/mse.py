"""MSE: the mean squared error."""

from __future__ import annotations

import numpy as np

from hf_finetune.metrics_modules import mean_error
from hf_finetune.metrics_modules.counts import Array


class Mse(mean_error.MeanError):
    """The `mean_squared_error` of scikit-learn, added up batch by batch."""

    description = "The mean squared error."
    reference = "mean_squared_error"

    def measure(self, difference: Array) -> Array:
        """Return the squared differences."""
        return np.square(difference)
