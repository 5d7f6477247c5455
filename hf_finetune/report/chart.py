"""Curves and scatter plots -> positions in percent of the plot, for the SVG in the template.

Everything is in percent, so that one drawing fits a phone and a desk screen with text of the same size.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hf_finetune.formatting import format_number
from hf_finetune.report.axis import Axis, fit_axis, format_compact, pad_axis
from hf_finetune.report.curves import Curve, Point, smooth, thin

__all__ = ["Chart", "Line", "Series", "Tick", "build_chart", "build_scatter"]

MIN_POINTS_TO_SMOOTH = 80
MAX_MARKERS = 60


@dataclass(frozen=True, kw_only=True)
class Series:
    """What is to be drawn.

    Args:
        name: For the legend.
        curve: The numbers.
        style: CSS class: "train", "eval", "baseline-train", "baseline-eval".
        is_noisy: Draw the running mean strongly and the numbers themselves faintly, where there are many.
        is_faded: Of the noisy ones, draw the running mean alone: it is there for comparison.
    """

    name: str
    curve: Curve
    style: str
    is_noisy: bool = False
    is_faded: bool = False


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis; `at` in percent from the left or the top."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A drawn series.

    Args:
        name: For the legend.
        style: CSS class.
        segments: `points` attributes of polylines in a box of 1000 by 1000, one for each unbroken stretch.
        markers: Centres in percent.
        data: The drawn points in the units of the axes.
        in_legend: Whether the legend names it.
        in_readout: Whether its numbers are read out under the pointer.
    """

    name: str
    style: str
    segments: list[str]
    markers: list[Point]
    data: list[Point]
    in_legend: bool = True
    in_readout: bool = True


@dataclass(frozen=True, kw_only=True)
class Chart:
    """All the template draws.

    Args:
        title: Above the plot.
        description: What it shows, in words, for those who do not see it.
        lines: Back to front.
        x_ticks: Left to right.
        y_ticks: Labels of the vertical axis.
        x_label: Of the horizontal axis.
        is_log: Whether the vertical axis is logarithmic.
        best_at: Where the best step is, in percent.
        best_text: What to say there.
        holes: Where a number was not finite, in percent from the left.
        dots: Of a scatter plot, in percent.
        guide: End points of a straight guide line, in percent.
        hover: JSON for the script that reads out the numbers under the pointer.
    """

    title: str
    description: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    lines: list[Line] = field(default_factory=list)
    y_label: str = ""
    is_log: bool = False
    best_at: float | None = None
    best_text: str = ""
    holes: list[float] = field(default_factory=list)
    dots: list[Point] = field(default_factory=list)
    guide: tuple[Point, Point] | None = None
    hover: str = ""


def build_chart(title: str, series: Sequence[Series], *, best_step: float | None = None) -> Chart | None:
    """Lay out curves over updates.

    Args:
        title: Of the chart.
        series: Back to front; those without a finite point are left out.
        best_step: The update to mark as the best one.

    Returns:
        None when there is nothing to draw.
    """
    drawn = [one for one in series if one.curve.points]
    if not drawn:
        return None
    x = _x_axis(drawn)
    y = fit_axis([value for one in drawn for _, value in one.curve.points])
    lines = [line for one in drawn for line in _lines(one, x, y)]
    best = best_step if best_step is not None and x.low <= best_step <= x.high else None
    return Chart(
        title=title,
        description=_describe(title, drawn, best),
        lines=lines,
        x_ticks=[Tick(round(100 * x.at(v), 2), format_compact(v)) for v in x.ticks()],
        y_ticks=[Tick(round(100 - 100 * y.at(v), 2), format_compact(v)) for v in y.ticks()],
        x_label="update",
        is_log=y.is_log,
        best_at=round(100 * x.at(best), 2) if best is not None else None,
        best_text=f"best, update {best:,.0f}" if best is not None else "",
        holes=_places(sorted({step for one in series for step in one.curve.holes}), x),
        hover=_hover(lines, x),
    )


def build_scatter(
    title: str,
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    guide: tuple[Point, Point],
    description: str,
) -> Chart | None:
    """Lay out a scatter plot with a straight guide line (identity, or zero).

    Args:
        title: Of the chart.
        points: Thinned by the caller; not finite ones are left out.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
        guide: Two points in the units of the axes.
        description: What it shows, in words.
    """
    finite = [p for p in points if math.isfinite(p[0]) and math.isfinite(p[1])]
    if not finite:
        return None
    ends = [p for p in guide if math.isfinite(p[0]) and math.isfinite(p[1])]
    x, y = (pad_axis([p[i] for p in [*finite, *ends]]) for i in (0, 1))

    def place(point: Point) -> Point:
        return round(100 * x.at(point[0]), 2), round(100 - 100 * y.at(point[1]), 2)

    return Chart(
        title=title,
        description=description,
        x_ticks=[Tick(round(100 * x.at(v), 2), format_compact(v)) for v in x.ticks()],
        y_ticks=[Tick(round(100 - 100 * y.at(v), 2), format_compact(v)) for v in y.ticks()],
        x_label=x_label,
        y_label=y_label,
        dots=[place(p) for p in finite],
        guide=(place(guide[0]), place(guide[1])),
    )


def _x_axis(series: Sequence[Series]) -> Axis:
    steps = [step for one in series for step in one.curve.steps]
    low, high = min(0.0, *steps), max(steps)
    return Axis(low=low, high=high if high > low else low + 1)


def _lines(one: Series, x: Axis, y: Axis) -> list[Line]:
    """Draw a series as one line; a long noisy one as its running mean over its faint self."""
    points, holes = one.curve.points, sorted(one.curve.holes)
    if not one.is_noisy or len(points) < MIN_POINTS_TO_SMOOTH:
        most = MAX_MARKERS if one.style.endswith("eval") else MAX_MARKERS // 5
        return [_line(one.name, one.style, thin(points), holes, x, y, has_markers=len(points) <= most)]
    name = f"{one.name}, running mean"
    mean = _line(name, one.style, smooth(points), holes, x, y, has_markers=False)
    if one.is_faded:
        return [mean]
    raw = _line(one.name, f"{one.style} raw", thin(points), holes, x, y, has_markers=False)
    return [replace(raw, in_legend=False), replace(mean, in_readout=False)]


def _line(
    name: str, style: str, points: list[Point], holes: list[float], x: Axis, y: Axis, *, has_markers: bool
) -> Line:
    """Place a line. A hole breaks it: what was not finite must not look like a straight way across."""
    segments: list[list[Point]] = [[]]
    for i, point in enumerate(points):
        if i and bisect_right(holes, points[i - 1][0]) < bisect_left(holes, point[0]):
            segments.append([])
        segments[-1].append(point)
    texts = [
        " ".join(f"{1000 * x.at(s):.1f},{1000 - 1000 * y.at(v):.1f}" for s, v in segment)
        for segment in segments
        if len(segment) > 1
    ]
    marked = points if has_markers else [segment[0] for segment in segments if len(segment) == 1]
    markers = [(round(100 * x.at(s), 2), round(100 - 100 * y.at(v), 2)) for s, v in marked]
    return Line(name=name, style=style, segments=texts, markers=markers, data=points)


def _places(steps: Sequence[float], x: Axis) -> list[float]:
    """At most 100 different places: thousands of warning marks on one spot say no more than one."""
    return sorted({round(100 * x.at(step)) + 0.0 for step in steps})[:100]


def _describe(title: str, series: Sequence[Series], best: float | None) -> str:
    sentences = [f"{title} over updates."]
    for one in series:
        points = one.curve.points
        ends = {"first": points[0], "last": points[-1]}
        ends |= {"lowest": min(points, key=lambda p: p[1]), "highest": max(points, key=lambda p: p[1])}
        words = (
            f"{word} {format_number(value)} at update {step:.0f}" for word, (step, value) in ends.items()
        )
        sentences.append(f"{one.name}: {', '.join(words)}.")
    if best is not None:
        sentences.append(f"The best update is {best:.0f}.")
    return " ".join(sentences)


def _hover(lines: Sequence[Line], x: Axis) -> str:
    """Encode the drawn points as JSON that cannot end the script element it stands in."""
    content = {
        "low": x.low,
        "high": x.high,
        "lines": [
            {
                "name": line.name,
                "points": [[round(s, 2), float(f"{v:.4g}")] for s, v in line.data],
            }
            for line in lines
            if line.in_readout
        ],
    }
    text = json.dumps(content, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
