"""What must be known beside error rates of text: how sure they are, of how much sound, what went wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_finetune.metrics.base import Array
from hf_finetune.metrics.metric_set import MetricSet
from hf_finetune.metrics_modules.transcripts import build_normalizer, count_edits

__all__ = ["TranscriptNotes", "find_interval"]

UNITS: dict[str, Any] = {"wer": "words", "cer": "characters"}
MAX_NAMED = 20
"""Rows that are named one by one."""


class TranscriptNotes:
    """Look at the texts of a split, batch by batch.

    Args:
        metrics: Of the recipe: their error rates get intervals.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self._rates = {
            result: (UNITS[name], build_normalizer(options.get("normalizer", "none")))
            for result, (name, options) in metrics.bundled().items()
            if name in UNITS
        }
        self._edits: dict[str, list[tuple[int, int]]] = {result: [] for result in self._rates}
        self.num_rows = self.num_empty = 0
        self.limited: list[int] = []

    def __call__(self, rows: Mapping[str, Array]) -> None:
        """Take one gathered, decoded batch with "labels"; nothing of one in which nothing is written."""
        if "prediction" not in rows:
            return
        said = [str(text) for text in rows["prediction"]]
        self.num_empty += sum(not text.strip() for text in said)
        if "hit_limit" in rows:
            self.limited += [self.num_rows + int(row) for row in np.flatnonzero(rows["hit_limit"])]
        self.num_rows += len(said)
        for result, (unit, normalize) in self._rates.items():
            for label, text in zip(rows["labels"], said, strict=True):
                edits = count_edits([normalize(str(label))], [normalize(text)], unit)
                self._edits[result].append((edits.num_errors, edits.num_units))

    def to_json(self, *, audio_s: float, runtime_s: float) -> dict[str, Any]:
        """Return the notes, to be kept beside the scores.

        Args:
            audio_s: Seconds of sound that were scored.
            runtime_s: Seconds that it took, by the clock, on all processes.

        Returns:
            `rows`; `empty`, rows for which nothing is written; `limited` and `limited_rows`, those that were
            stopped at the limit of what may be written, and the first of them; `audio_hours`;
            `real_time_factor`, seconds of computing for a second of sound; `interval`, error rate -> [low,
            high], of 95 %. Nothing where nothing is written.
        """
        if not self.num_rows:
            return {}
        found = {result: find_interval(edits) for result, edits in self._edits.items()}
        return {
            "rows": self.num_rows,
            "empty": self.num_empty,
            "limited": len(self.limited),
            "limited_rows": self.limited[:MAX_NAMED],
            "audio_hours": audio_s / 3600,
            "real_time_factor": runtime_s / audio_s if audio_s else None,
            "interval": {result: list(interval) for result, interval in found.items() if interval},
        }


def find_interval(edits: Sequence[tuple[int, int]]) -> tuple[float, float] | None:
    """Return where the error rate of such rows lies 95 times in a hundred; None for fewer than two rows.

    Words of one row are wrong together, so rows are what is drawn: the rate is a ratio of two sums over rows,
    and its variance the usual one of such a ratio. Without any error the rule of three says what may be.

    Args:
        edits: (errors, units of the reference) of each row.

    Source: Cochran, "Sampling techniques", 1977, chapter 6; Hanley, Lippman-Hand, JAMA 1983.

    Example:
        >>> low, high = find_interval([(1, 4), (0, 4), (2, 4), (1, 4)] * 25)
        >>> round(low, 3), round(high, 3)
        (0.215, 0.285)
    """
    errors, units = np.array(edits, float).reshape(-1, 2).T
    num_rows, num_units = len(errors), units.sum()
    if num_rows < 2 or not num_units:
        return None
    if not errors.any():
        return 0.0, min(1.0, 3 / num_rows)
    rate = errors.sum() / num_units
    spread = ((errors - rate * units) ** 2).sum() * num_rows / (num_rows - 1)
    half = 1.959964 * math.sqrt(spread) / num_units
    return max(0.0, float(rate - half)), float(rate + half)
