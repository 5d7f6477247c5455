"""The words of messages: what was got, what was probably meant."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable
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


def hint(value: Any, kinds: Collection[str], *, text: str = "") -> str | None:
    """Say how a value of the wrong type would be written right.

    Args:
        value: What was got.
        kinds: What would do: int, float, bool, str, list, dict.
        text: A scalar as it was written.

    Example:
        >>> hint("1e-4", {"float"}), hint("0,5", {"float"}), hint("1_000", {"int"}), hint("5 %", {"float"})
        ('Write 1e-4 without quotes.', 'Write 0.5.', 'Write 1000.', 'Write 0.05.')
        >>> hint("yes", {"bool"}), hint(2.0, {"int"}), hint("loss", {"list"})
        ('Write true.', 'Write 2.', 'Write [loss].')
    """
    if isinstance(value, str):
        if {"int", "float"} & set(kinds) and (number := _number_in(value)):
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


def _number_in(text: str) -> str | None:
    clean = re.sub(r"(?<=\d)[_,' ](?=\d{3})", "", text.strip().replace("_", ""))
    clean = re.sub(r"^([-+]?\d+),(\d+)$", r"\1.\2", clean)  # a decimal comma
    try:
        if clean.endswith("%"):
            return repr(float(clean[:-1]) / 100)
        return clean if math.isfinite(float(clean)) else None
    except ValueError:
        return None
