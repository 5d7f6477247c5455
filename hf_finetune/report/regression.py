"""Predicted against true numbers, and what is left over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_finetune.formatting import as_float, format_number
from hf_finetune.report.chart import Chart, build_scatter
from hf_finetune.report.record import RunRecord

__all__ = ["TargetScore", "build_residuals"]

LARGEST = 1e100  # squares of errors must not overflow
MAX_DOTS = 1200
MAX_TARGETS = 4


@dataclass(frozen=True, kw_only=True)
class TargetScore:
    """Errors of one target, by the predictions.

    Args:
        name: Of the target; empty for the only one.
        mae: Mean absolute error.
        rmse: Root of the mean squared error.
        r2: Share of the variance explained; None for a target that never varies.
        num_rows: Rows with finite numbers.
        num_lost: Rows left out because a number was not finite.
        charts: Predicted against true, residual against predicted.
    """

    name: str
    mae: float
    rmse: float
    r2: float | None
    num_rows: int
    num_lost: int
    charts: list[Chart]


def build_residuals(record: RunRecord) -> list[TargetScore]:
    """Score and draw each target of a regression run; empty for other runs."""
    if record.scores.get("problem_type") != "regression":
        return []
    truths, predictions = record.predictions.get("label", []), record.predictions.get("prediction", [])
    true_columns, said_columns = _columns(truths), _columns(predictions)
    if len(true_columns) != len(said_columns):
        return []
    scores = []
    for i, (true, said) in enumerate(zip(true_columns, said_columns, strict=True)):
        name = f"target {i}" if len(true_columns) > 1 else ""
        pairs = [(t, s) for t, s in zip(true, said, strict=True) if abs(t) < LARGEST and abs(s) < LARGEST]
        if pairs:
            scores.append(_score(name, pairs, len(true) - len(pairs), has_charts=i < MAX_TARGETS))
    return scores


def _columns(values: Sequence[Any]) -> list[list[float]]:
    """Turn rows of one number, or of several, into columns; what is no number becomes NaN."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    width = max((len(row) for row in rows), default=0)
    return [[_number(row[i]) if i < len(row) else math.nan for row in rows] for i in range(width)]


def _number(value: Any) -> float:
    number = as_float(value)
    return math.nan if number is None else number


def _score(name: str, pairs: list[tuple[float, float]], num_lost: int, *, has_charts: bool) -> TargetScore:
    true, said = np.array(pairs).T
    residual = said - true
    variance = float(((true - true.mean()) ** 2).sum())
    return TargetScore(
        name=name,
        mae=float(np.abs(residual).mean()),
        rmse=float(np.sqrt((residual**2).mean())),
        r2=1 - float((residual**2).sum()) / variance if variance else None,
        num_rows=len(pairs),
        num_lost=num_lost,
        charts=_charts(f", {name}" if name else "", pairs) if has_charts else [],
    )


def _charts(name: str, pairs: list[tuple[float, float]]) -> list[Chart]:
    shown = _sample(pairs)
    low, high = min(min(p) for p in pairs), max(max(p) for p in pairs)
    said = [p[1] for p in pairs]
    count = f"{format_number(len(shown))} of {format_number(len(pairs))} rows"
    charts = [
        build_scatter(
            f"Predicted against true{name}",
            shown,
            x_label="true",
            y_label="predicted",
            guide=((low, low), (high, high)),
            description=f"Scatter plot, {count}; a perfect prediction lies on the diagonal.",
        ),
        build_scatter(
            f"Residual against predicted{name}",
            [(s, s - t) for t, s in shown],
            x_label="predicted",
            y_label="predicted minus true",
            guide=((min(said), 0.0), (max(said), 0.0)),
            description=f"Scatter plot, {count}; a perfect prediction lies on the line at zero.",
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _sample(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Take the rows with the largest errors and every n-th of the rest: outliers are what one looks for."""
    if len(pairs) <= MAX_DOTS:
        return pairs
    order = sorted(range(len(pairs)), key=lambda i: -abs(pairs[i][1] - pairs[i][0]))
    num_outliers = MAX_DOTS // 10
    rest = sorted(order[num_outliers:])
    stride = math.ceil(len(rest) / (MAX_DOTS - num_outliers))
    return [pairs[i] for i in sorted(order[:num_outliers]) + rest[::stride]]
