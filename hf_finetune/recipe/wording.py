"""The words of messages: what was got, what was probably meant."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from typing import Any

__all__ = ["describe", "find_near", "hint", "list_words"]

_YES, _NO = {"yes", "y", "on", "true", "1"}, {"no", "n", "off", "false", "0", "none"}


def describe(value: Any) -> str:
    """Say what a value is, in the words of YAML.

    Example:
        >>> describe("fast"), describe(None), describe([1, 2])
        ("the text 'fast'", 'nothing (null)', 'a list')
    """
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 60 else f"the text {value[:57]!r}..."
    return "a mapping" if isinstance(value, dict) else "a list"


def hint(
    value: Any,
    kinds: Collection[str],
    *,
    text: str = "",
    accepts: Callable[[float], bool] = lambda number: True,
) -> str | None:
    """Say how a value of the wrong type would be written right.

    Args:
        value: What was got.
        kinds: What would do: int, float, bool, str, list, dict.
        text: A scalar as it was written.
        accepts: Tells whether a number will do; what would not is not offered.

    Example:
        >>> hint("1e-4", {"float"}), hint("0,5", {"float"}), hint("1_000", {"int"}), hint("5 %", {"float"})
        ('Write 1e-4 without quotes.', 'Write 0.5.', 'Write 1000.', 'Write 0.05.')
        >>> hint("yes", {"bool"}), hint(2.0, {"int"}), hint("loss", {"list"})
        ('Write true.', 'Write 2.', 'Write [loss].')
    """
    if isinstance(value, str):
        if "null" in kinds and value.lower() in ("none", "null", "nil", "~"):
            return "Write null."
        is_whole = "float" not in kinds
        if {"int", "float"} & set(kinds) and (number := _number_in(value, is_whole=is_whole)):
            if not accepts(float(number)):
                return None
            return f"Write {number} without quotes." if number == value else f"Write {number}."
        if "bool" in kinds and value.lower() in _YES | _NO:
            return "Write true." if value.lower() in _YES else "Write false."
        if "list" in kinds:
            return f"Write [{value}]."
    if "bool" in kinds and not isinstance(value, bool) and value in (0, 1):
        return "Write true." if value else "Write false."
    if "int" in kinds and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    if set(kinds) - {"null"} == {"str"} and isinstance(value, bool | int | float):
        return f"Put it in quotes: '{text or value}'."
    return None


def find_near(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was probably meant.

    Example:
        >>> find_near("learning_rat", ["learning_rate", "warmup_steps"])
        'learning_rate'
    """
    near = difflib.get_close_matches(word.lower().replace("-", "_"), list(candidates), n=1, cutoff=0.7)
    return near[0] if near else None


def list_words(words: Collection[str], limit: int = 16) -> str:
    """Name the choices; of very many only the first."""
    shown = list(words)[:limit] if len(words) <= limit else list(words)[:8]
    rest = f" ... ({len(words)} in all: see `hf-finetune schema`)" if len(words) > limit else ""
    return ", ".join(f"'{word}'" for word in shown) + rest


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:(?P<mark>[_,.' ])\d{3})(?:(?P=mark)\d{3})*")


def _number_in(text: str, *, is_whole: bool = False) -> str | None:
    """Return the number that a text can only mean, in digits that YAML reads; None where it is not clear.

    A single comma or point before three digits is one of thousands where a whole number is wanted, and may be
    either where it is not: nothing is said of `1,000`.
    """
    clean = unicodedata.normalize("NFKC", text).replace("\u2212", "-").strip().rstrip(",;")
    is_percent, clean = clean.endswith("%"), clean.removesuffix("%").strip()
    head, mark, tail = _split_decimals(clean)
    if _THOUSANDS.fullmatch(clean):
        marks = re.sub(r"[-+\d]", "", clean)
        if marks[0] in ",." and len(marks) == 1 and not is_whole and text != clean.replace(",", "."):
            return None
        if marks[0] not in ",." or len(marks) > 1 or is_whole:
            clean = re.sub(r"[_,.' ]", "", clean)
    elif mark and _THOUSANDS.fullmatch(head) and tail[:1].isdigit() and mark not in head:
        clean = re.sub(r"[_,.' ]", "", head) + "." + tail
    elif mark == "," and "," not in head and "." not in clean:
        clean = f"{head}.{tail}"
    if not _NUMBER.fullmatch(clean) or not math.isfinite(float(clean)):
        return None
    if is_percent:
        clean = f"{float(clean) / 100:.12g}"
    if is_whole:
        return str(int(float(clean))) if float(clean).is_integer() else None
    return clean


def _split_decimals(text: str) -> tuple[str, str, str]:
    """Part a text at its last comma or point."""
    place = max(text.rfind(","), text.rfind("."))
    return (text[:place], text[place], text[place + 1 :]) if place >= 0 else (text, "", "")
