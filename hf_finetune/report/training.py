"""The training over its updates: charts, and the evaluations as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hf_finetune.formatting import MISSING, as_finite, format_name, format_number
from hf_finetune.report.chart import Chart, Series, build_chart
from hf_finetune.report.curves import Curve, build_curves
from hf_finetune.report.record import RunRecord
from hf_finetune.report.sections import BASELINE

__all__ = ["Evaluations", "build_charts", "build_evaluations"]

MAX_METRIC_CHARTS = 8
MAX_EVALUATIONS = 40


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """The evaluations during training as a table; thinned where there are many."""

    columns: list[str]
    rows: list[tuple[bool, list[str]]]
    num_all: int


def build_charts(record: RunRecord) -> tuple[list[Chart], list[Chart]]:
    """Return the two large charts (loss, best metric), and the small ones (other metrics, rate, norm)."""
    ours, base = build_curves(record.log), build_curves(record.baseline_log)
    best = record.best_step
    loss = [
        *_series(base, "loss", f"train, {BASELINE}", "baseline-train", is_noisy=True),
        *_series(base, "eval_loss", f"eval, {BASELINE}", "baseline-eval"),
        *_series(ours, "loss", "train", "train", is_noisy=True),
        *_series(ours, "eval_loss", "eval", "eval"),
    ]
    metric = "eval_" + str(record.lookup("training.metric_for_best_model", "")).removeprefix("eval_")
    metrics = sorted(
        (key for key in ours if key.startswith("eval_") and key != "eval_loss"), key=lambda k: k != metric
    )
    extra = [
        key
        for key in ours
        if not key.startswith("eval_") and key not in ("loss", "grad_norm", "learning_rate")
    ]
    charts = [
        build_chart(
            format_name(key).capitalize(),
            [*_series(base, key, f"eval, {BASELINE}", "baseline-eval"), *_series(ours, key, "eval", "eval")],
            best_step=best,
        )
        for key in metrics[:MAX_METRIC_CHARTS]
    ]
    large = [build_chart("Loss", loss, best_step=best), *charts[:1]]
    small = [
        *charts[1:],
        build_chart("Learning rate", _series(ours, "learning_rate", "learning rate", "train")),
        build_chart("Gradient norm", _series(ours, "grad_norm", "gradient norm", "train", is_noisy=True)),
        *(
            build_chart(
                format_name(key).capitalize(), _series(ours, key, format_name(key), "train", is_noisy=True)
            )
            for key in extra[:MAX_METRIC_CHARTS]
        ),
    ]
    return [chart for chart in large if chart], [chart for chart in small if chart]


def _series(
    curves: Mapping[str, Curve], key: str, name: str, style: str, *, is_noisy: bool = False
) -> list[Series]:
    if key not in curves:
        return []
    is_faded = style.startswith("baseline")
    return [Series(name=name, curve=curves[key], style=style, is_noisy=is_noisy, is_faded=is_faded)]


def build_evaluations(record: RunRecord) -> Evaluations | None:
    """List the evaluations of the training, the best one marked; at most 40, evenly chosen."""
    curves = {key: curve for key, curve in build_curves(record.log).items() if key.startswith("eval_")}
    steps = sorted({step for curve in curves.values() for step in curve.steps})
    if not steps:
        return None
    best = record.best_step
    stride = math.ceil(len(steps) / MAX_EVALUATIONS)
    shown = [s for i, s in enumerate(steps) if (len(steps) - 1 - i) % stride == 0 or s == best]
    epochs = {as_finite(entry.get("step")): as_finite(entry.get("epoch")) for entry in record.log}
    values = {key: dict(zip(curve.steps, curve.values, strict=True)) for key, curve in curves.items()}
    rows = [
        (
            step == best,
            [
                format_number(int(step)),
                f"{epoch:.2f}" if (epoch := epochs.get(step)) is not None else MISSING,
                *(format_number(values[key].get(step)) for key in curves),
            ],
        )
        for step in shown
    ]
    return Evaluations(columns=["update", "epoch", *map(format_name, curves)], rows=rows, num_all=len(steps))
