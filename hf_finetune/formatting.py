"""Numbers and names as people read them, and nested settings as flat ones."""

from __future__ import annotations

import difflib
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "MISSING",
    "as_finite",
    "as_float",
    "count_classes",
    "first_words",
    "flatten_keys",
    "format_duration",
    "format_name",
    "format_number",
    "format_rate",
    "format_score",
    "is_score",
    "list_some",
    "offer",
    "wilson_interval",
]

MISSING = "-"
_NOT_SCORES = ("epoch", "runtime", "_per_second", "_compilation_time", "_preparation_time")


def as_float(value: Any) -> float | None:
    """Return a number as float, NaN and infinities included; None for everything else.

    Example:
        >>> as_float(3), as_float("NaN"), as_float("three"), as_float(True)
        (3.0, nan, None, None)
    """
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def as_finite(value: Any) -> float | None:
    """Return a finite number as float; None for everything else.

    Example:
        >>> as_finite(3), as_finite(float("inf"))
        (3.0, None)
    """
    number = as_float(value)
    return number if number is not None and math.isfinite(number) else None


def format_number(value: Any) -> str:
    """Format a score: whole numbers with separators, the rest with four decimals or digits.

    Example:
        >>> [format_number(x) for x in (0.98333333, 1437, 1e-05, 12345.678, float("nan"), None)]
        ['0.9833', '1,437', '1e-5', '12,346', 'not a number', '-']
    """
    number = as_float(value)
    if number is None:
        return MISSING
    if math.isnan(number):
        return "not a number"
    if math.isinf(number):
        return "infinite" if number > 0 else "-infinite"
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(number)
    if size >= 1e7 or 0 < size < 1e-3:
        mantissa, exponent = f"{number:.3e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{number:,.{0 if size >= 1000 else 2 if size >= 10 else 4}f}"


def format_score(name: str, value: Any) -> str:
    """Format a score by its name: error rates of text in percent, as they are told of; all else as numbers.

    Example:
        >>> format_score("eval_wer", 0.3127), format_score("accuracy", 0.3127), format_score("cer", None)
        ('31.27 %', '0.3127', '-')
    """
    number = as_finite(value)
    is_rate = name.removeprefix("eval_").partition("_")[0] in ("wer", "cer")
    return f"{100 * number:.2f} %" if is_rate and number is not None else format_number(value)


def format_rate(value: float) -> str:
    """Format a throughput with about three digits.

    Example:
        >>> [format_rate(x) for x in (0.5, 41.2, 811.7, 1384.6)]
        ['0.50', '41.2', '812', '1,385']
    """
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def format_duration(seconds: float) -> str:
    """Format a time span with its two leading units.

    Example:
        >>> [format_duration(x) for x in (0.42, 12.3, 75, 3700, 200_000)]
        ['0.4 s', '12 s', '1 min 15 s', '1 h 1 min', '2 d 7 h']
    """
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next(i for i, (_, size) in enumerate(units) if whole >= size)
    parts = [f"{whole // units[first][1]} {units[first][0]}"]
    if first + 1 < len(units):
        rest = whole % units[first][1] // units[first + 1][1]
        parts += [f"{rest} {units[first + 1][0]}"] if rest else []
    return " ".join(parts)


def format_name(name: str) -> str:
    """Turn the name of a metric into words.

    Example:
        >>> format_name("eval_balanced_accuracy")
        'balanced accuracy'
    """
    return name.removeprefix("eval_").replace("_", " ")


def is_score(name: str, value: Any) -> bool:
    """Whether an entry of an evaluation is a score, and not a time or a speed.

    Example:
        >>> [is_score(name, 1.0) for name in ("accuracy", "loss", "runtime", "samples_per_second", "epoch")]
        [True, True, False, False, False]
    """
    return as_float(value) is not None and not name.endswith(_NOT_SCORES)


def flatten_keys(section: Mapping[str, Any], *, separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one; an empty one stays a value.

    Example:
        >>> flatten_keys({"model": {"peft": {"r": 8}, "config": {}}, "metrics": ["f1"]})
        {'model.peft.r': 8, 'model.config': {}, 'metrics': ['f1']}
    """
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_keys(value, separator=separator, prefix=f"{prefix}{key}{separator}")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def offer(name: str, known: Iterable[Any], what: str = "Known") -> str:
    """Offer the nearest of the known names, and all of them, to whoever wrote another.

    Example:
        >>> offer("los", ["loss", "f1"])
        "Did you mean 'loss'? Known: loss, f1"
    """
    names = [str(item) for item in known]
    near = difflib.get_close_matches(name, names, n=1)
    return (f"Did you mean {near[0]!r}? " if near else "") + f"{what}: {', '.join(names) or 'none'}"


def list_some(names: Sequence[str], limit: int = 5) -> str:
    """List the first of some names, and say how many more there are.

    Example:
        >>> list_some(["a", "b", "c", "d"], 2), list_some(["a", "b"], 2)
        ('a, b and 2 more', 'a, b')
    """
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def count_classes(names: Sequence[str]) -> str:
    """Count classes and name them: all, or the first ten.

    Example:
        >>> count_classes(["bus", "car"]), count_classes([str(i) for i in range(12)])
        ('2 classes: bus, car', '12 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    return f"{len(names):,} {'class' if len(names) == 1 else 'classes'}: {list_some(names, 10)}"


def first_words(text: object, width: int = 200) -> str:
    """Return the beginning of what a library says, on one line: some list all they know.

    Example:
        >>> first_words("no such type.  Known: a, b, c", 24)
        'no such type. Known: ...'
    """
    return textwrap.shorten(str(text), width, placeholder=" ...")


def wilson_interval(share: float, num_rows: int) -> tuple[float, float]:
    """Return where the true share lies, 95 times in a hundred, of which one was measured on some rows.

    Example:
        >>> low, high = wilson_interval(0.9, 100)
        >>> round(low, 4), round(high, 4)
        (0.8256, 0.9448)
        >>> wilson_interval(1.0, 4)[1]
        1.0

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z = 1.959964
    centre = share + z * z / (2 * num_rows)
    half = z * math.sqrt(share * (1 - share) / num_rows + z * z / (4 * num_rows**2))
    scale = 1 + z * z / num_rows
    low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
    return low if share > 0 else 0.0, high if share < 1 else 1.0  # without the last digit's noise
