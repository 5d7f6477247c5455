"""A log -> curves: one per logged number, over updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hf_finetune.formatting import as_finite, as_float, is_score

__all__ = ["Curve", "Point", "build_curves", "smooth", "thin"]

Point = tuple[float, float]
"""An update and a value."""

LARGEST = 1e300
_NOT_CURVES = {"step", "epoch", "total_flos", "num_input_tokens_seen"}


@dataclass(frozen=True)
class Curve:
    """One number over the updates, in order; a value may be NaN or infinite."""

    steps: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def points(self) -> list[Point]:
        """The finite points."""
        return [(s, v) for s, v in zip(self.steps, self.values, strict=True) if math.isfinite(v)]

    @property
    def holes(self) -> list[float]:
        """The updates at which the value was NaN or infinite."""
        return [s for s, v in zip(self.steps, self.values, strict=True) if not math.isfinite(v)]


def build_curves(log: Iterable[Mapping[str, Any]]) -> dict[str, Curve]:
    """Collect the curves of a log.

    A number that was logged twice at an update (a resumed run) counts once, the last one. null in the log
    is how a number that was not finite is written.

    Args:
        log: Entries with "step"; others are left out, and so is the summary at the end of training.
    """
    by_key: dict[str, dict[float, float]] = {}
    for entry in log:
        step = as_finite(entry.get("step"))
        if step is None or "train_runtime" in entry:
            continue
        for key, value in entry.items():
            number = math.nan if value is None else as_float(value)
            if number is not None and key not in _NOT_CURVES and is_score(key, number):
                by_key.setdefault(key, {})[_drawable(step)] = _drawable(number)
    return {
        key: Curve(tuple(sorted(points)), tuple(points[step] for step in sorted(points)))
        for key, points in by_key.items()
    }


def _drawable(number: float) -> float:
    """Bound a finite number: an axis takes differences, and those must not overflow."""
    return max(-LARGEST, min(LARGEST, number)) if math.isfinite(number) else number


def thin(points: list[Point], limit: int = 600) -> list[Point]:
    """Leave at most about `limit` points that draw the same picture.

    Of each slice of the points, the first, lowest, highest and last stay.

    Example:
        >>> thin([(0, 1.0), (1, 9.0), (2, 1.0)], limit=600)
        [(0, 1.0), (1, 9.0), (2, 1.0)]
    """
    if len(points) <= limit:
        return points
    num_slices = limit // 4
    kept: list[Point] = []
    for i in range(num_slices):
        part = points[i * len(points) // num_slices : (i + 1) * len(points) // num_slices]
        corners = {part[0], min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1]), part[-1]}
        kept.extend(sorted(corners))
    return kept


def smooth(points: list[Point], share: float = 0.05) -> list[Point]:
    """Return the centred running mean over a share of the points; narrower at both ends.

    Args:
        points: In order.
        share: Width of the mean as a share of all points, in (0, 1).
    """
    num_slices = min(len(points), 300)
    means = []
    for i in range(num_slices):
        part = points[i * len(points) // num_slices : (i + 1) * len(points) // num_slices]
        means.append((math.fsum(p[0] for p in part) / len(part), math.fsum(p[1] for p in part) / len(part)))
    half = max(1, round(num_slices * share / 2))
    result = []
    for i, (step, _) in enumerate(means):
        reach = min(half, i, num_slices - 1 - i)
        window = means[i - reach : i + reach + 1]
        result.append((step, math.fsum(value for _, value in window) / len(window)))
    return result
