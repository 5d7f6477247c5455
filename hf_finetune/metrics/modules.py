"""Modules of the `evaluate` library as metrics."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_finetune.errors import UserError
from hf_finetune.metrics.base import Array, Metric

__all__ = ["BundledMetric", "load_module"]

BUNDLED = Path(__file__).parents[1] / "metrics_modules"


def load_module(script: Path, config: str | None = None, **options: Any) -> Any:
    """Load an `evaluate` module from a file.

    Always by absolute path: a bare name such as "accuracy" runs whatever lies at ./accuracy/accuracy.py, else
    what the Hub has under that name today.

    Args:
        script: The module's file.
        config: Its configuration, such as "multilabel".
        options: For the module's constructor, and for `evaluate.load`.

    Raises:
        UserError: `evaluate` cannot copy the module to its cache.
    """
    import evaluate  # takes seconds, of which Trainer spends most anyway

    try:
        return evaluate.load(str(script.absolute()), config, experiment_id=uuid.uuid4().hex, **options)
    except OSError as error:
        raise UserError(
            f"evaluate cannot load {script.stem!r}: {error}",
            todo=f"Check the folder {evaluate.config.HF_MODULES_CACHE}; HF_HOME names another.",
        ) from error


class BundledMetric(Metric):
    """A module of `hf_finetune/metrics_modules`, which counts as the batches come.

    Args:
        name: Of the module.
        greater_is_better: Which way is better.
        config: The module's configuration.
        reads: What the module is given, "prediction" or "probabilities".
        column: The class whose probability alone is given; None for all.
        is_scalar: Whether the result is one number.
        result_name: What the result is called; None for the name in the recipe.
        takes_unknown: See `Metric`.
        is_share: See `Metric`.
        options: For the module.
    """

    def __init__(
        self,
        name: str,
        *,
        greater_is_better: bool | None,
        config: str | None = None,
        reads: str = "prediction",
        column: int | None = None,
        is_scalar: bool = True,
        result_name: str | None = None,
        takes_unknown: bool = False,
        is_share: bool = False,
        **options: Any,
    ) -> None:
        self.greater_is_better, self.is_scalar, self.result_name = greater_is_better, is_scalar, result_name
        self._reads, self._column, self.takes_unknown = reads, column, takes_unknown
        self.is_share, self.name, self.options = is_share, name, options
        self._module = load_module(BUNDLED / name / f"{name}.py", config, **options)

    def update(self, reduced: Mapping[str, Array], labels: Array) -> None:
        """Let the module count one batch."""
        values = reduced[self._reads]
        self._module.add_batch(
            predictions=values if self._column is None else values[..., self._column], references=labels
        )

    def compute(self) -> Any:
        """Return what the module has counted."""
        (value,) = self._module.compute().values()
        return value
