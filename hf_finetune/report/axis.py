"""Axes: where a value lies, and which round numbers to write beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "fit_axis", "format_compact", "nice_ticks", "pad_axis"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """From `low` to `high`; a logarithmic one needs `low` > 0."""

    low: float
    high: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return the place in [0, 1]."""
        scale: Callable[[float], float] = math.log10 if self.is_log else float
        low, high, here = scale(self.low), scale(self.high), scale(value)
        return min(1.0, max(0.0, (here - low) / (high - low))) if high > low else 0.5

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values on the axis, about `count` of them."""
        if not self.is_log:
            return nice_ticks(self.low, self.high, count)
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [float(f"{d}e{exponent}") for exponent in exponents for d in digits]
            inside = [tick for tick in ticks if self.low <= tick <= self.high]
            if len(inside) <= count + 2:
                return inside
        return inside[:: math.ceil(len(inside) / count)]


def fit_axis(values: Sequence[float]) -> Axis:
    """Return an axis for a curve: logarithmic where a linear one would press most of it flat.

    Args:
        values: At least one, finite. An axis of shares (0 to 1) and of what cannot be negative ends there.
    """
    low, high = min(values), max(values)
    middle = sorted(values)[len(values) // 2]
    if low > 0 and high > 12 * middle:
        return Axis(low=low / 1.2, high=high * 1.2, is_log=True)
    axis = pad_axis(values)
    if low >= 0:
        axis = Axis(low=max(0.0, axis.low), high=axis.high)
    if 0 <= low < high <= 1 < axis.high:
        axis = Axis(low=axis.low, high=1.0)
    return axis


def pad_axis(values: Sequence[float]) -> Axis:
    """Return an axis with a little room on both sides of the values."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Axis(low=low - margin, high=high + margin)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers within [low, high], about `count` of them.

    Example:
        >>> nice_ticks(0, 450)
        [0.0, 100.0, 200.0, 300.0, 400.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def format_compact(value: float) -> str:
    """Format a tick of an axis in as few characters as it takes.

    Example:
        >>> [format_compact(x) for x in (0.0, 0.25, 0.005, 1500.0, 20000.0, 3e6, -2.0)]
        ['0', '0.25', '5e-3', '1500', '20k', '3M', '-2']
    """
    size = abs(value)
    if size >= 1e12 or 0 < size < 1e-2:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    scales = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"), (0.0, 1.0, ""))
    unit, suffix = next((unit, suffix) for least, unit, suffix in scales if size >= least)
    return f"{value / unit:.6g}{suffix}"
