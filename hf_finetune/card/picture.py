"""The curves as a PNG: a page of the Hub shows a picture, and nothing that could run."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from hf_finetune.report.chart import Chart, Line

__all__ = ["draw_charts"]

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 88, 48
FINE = 3
"""Drawn so many times larger and made small again: Pillow's lines have no soft edges."""

INK, GREY, GRID, PAPER = "#1f2328", "#59636e", "#e3e6ea", "#ffffff"
COLOURS = {"train": "#2f6fde", "eval": "#d9711c", "baseline-train": "#a5abb2", "baseline-eval": "#6e7781"}


def draw_charts(charts: Sequence[Chart]) -> bytes:
    """Return a PNG of charts beside each other, as the report draws them.

    Args:
        charts: At least one.
    """
    sheet = Image.new("RGB", (WIDTH * len(charts) * FINE, HEIGHT * FINE), PAPER)
    for i, chart in enumerate(charts):
        _draw(ImageDraw.Draw(sheet), chart, left=i * WIDTH)
    small = sheet.resize((WIDTH * len(charts), HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.quantize(128, method=Image.Quantize.FASTOCTREE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw(draw: ImageDraw.ImageDraw, chart: Chart, *, left: int) -> None:
    x0, x1, y0, y1 = left + LEFT, left + WIDTH - RIGHT, TOP, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        """Percent of the plot -> pixels of the sheet."""
        return (x0 + (x1 - x0) * x / 100) * FINE, (y0 + (y1 - y0) * y / 100) * FINE

    for tick in chart.y_ticks:
        draw.line([place(0, tick.at), place(100, tick.at)], GRID, FINE)
        x, y = place(0, tick.at)
        draw.text((x - 8 * FINE, y), tick.text, GREY, _font(12), anchor="rm")
    for tick in chart.x_ticks:
        x, y = place(tick.at, 100)
        draw.text((x, y + 8 * FINE), tick.text, GREY, _font(12), anchor="mt")
    draw.line([place(0, 100), place(100, 100)], GREY, FINE)
    draw.text(((x0 + x1) / 2 * FINE, (HEIGHT - 14) * FINE), chart.x_label, GREY, _font(12), anchor="mm")
    draw.text((x0 * FINE, 20 * FINE), chart.title, INK, _font(16), anchor="lm")
    if chart.best_at is not None:
        draw.line([place(chart.best_at, 0), place(chart.best_at, 100)], INK, FINE)
        anchor = "rm" if chart.best_at > 50 else "lm"
        x, y = place(chart.best_at, 0)
        draw.text((x, y - 8 * FINE), chart.best_text, INK, _font(12), anchor=anchor)
    for line in chart.lines:
        _draw_line(draw, line, place)
    _draw_legend(draw, [line for line in chart.lines if line.in_legend], x0)


def _draw_line(draw: ImageDraw.ImageDraw, line: Line, place: object) -> None:
    colour = _colour(line)
    for segment in line.segments:
        pairs = (pair.split(",") for pair in segment.split())
        points = [place(float(x) / 10, float(y) / 10) for x, y in pairs]  # type: ignore[operator]
        draw.line(points, colour, (1 if line.style.endswith("raw") else 2) * FINE, joint="curve")
    for x, y in line.markers:
        centre = place(x, y)  # type: ignore[operator]
        draw.circle(centre, 3 * FINE, fill=colour)


def _draw_legend(draw: ImageDraw.ImageDraw, lines: Sequence[Line], left: int) -> None:
    x, y = float(left), 42.0
    for line in lines:
        width = draw.textlength(line.name, _font(12)) / FINE
        if x + 24 + width > left + WIDTH - LEFT - RIGHT:  # the rest goes below
            x, y = float(left), y + 18
        draw.line([(x * FINE, y * FINE), ((x + 18) * FINE, y * FINE)], _colour(line), 3 * FINE)
        draw.text(((x + 24) * FINE, y * FINE), line.name, GREY, _font(12), anchor="lm")
        x += 24 + width + 18


def _colour(line: Line) -> str:
    style, _, raw = line.style.partition(" ")
    return "#b9cdf2" if raw and style == "train" else COLOURS.get(style, GREY)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size * FINE)
