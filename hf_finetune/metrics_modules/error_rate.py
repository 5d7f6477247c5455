"""What word and character error rate share: edits and units of the references, added up batch by batch."""

from __future__ import annotations

from typing import Any, ClassVar

import evaluate

from hf_finetune.metrics_modules import streaming
from hf_finetune.metrics_modules.counts import Array
from hf_finetune.metrics_modules.transcripts import Unit, build_normalizer, count_edits

__all__ = ["ErrorRate"]


class ErrorRate(streaming.StreamingMetric):
    """Substitutions, deletions and insertions of all rows over the units of all references, at least 0.

    It is above 1 where more is inserted than there was to say. A row with an empty reference adds what was
    said there to the errors, and nothing to the units. NaN when no reference has a unit.

    Args:
        normalizer: What both texts go through first, a key of `transcripts.NORMALIZERS`.
    """

    unit: ClassVar[Unit]

    def __init__(self, *, normalizer: str = "none", **settings: Any) -> None:
        self.normalize = build_normalizer(normalizer)
        super().__init__(**settings)

    def _info(self) -> evaluate.MetricInfo:
        return streaming.describe(
            f"Substitutions, deletions and insertions of {self.unit} over the {self.unit} of the references; "
            "normalizer is given at load.",
            predictions="text",
            references="text",
            source="https://jitsi.github.io/jiwer/usage/",
        )

    def reset(self) -> None:
        """Forget all rows."""
        self.num_errors, self.num_units = 0, 0

    def take(self, predictions: Array, references: Array) -> None:
        """Count the edits."""
        said = [self.normalize(str(text)) for text in predictions]
        edits = count_edits([self.normalize(str(text)) for text in references], said, self.unit)
        self.num_errors += edits.num_errors
        self.num_units += edits.num_units

    def result(self) -> float:
        """Return the rate."""
        return self.num_errors / self.num_units if self.num_units else float("nan")
