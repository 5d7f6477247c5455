"""The same rows in two splits of a run: refused where it looks like a slip, said loudly where it is meant.

Slices that overlap in part (`train[:80%]` and `train[70%:]`), or of which one lies within the other, are a
slip. Two splits of exactly the same rows are what one writes to see whether a model can learn its data by
heart: they are let through, and every place that shows a score says what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import datasets

from hf_finetune.errors import DataError, RecipeError

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["Overlaps", "count_shared", "find_overlaps", "sort_splits"]

ORDER = ("train", "eval", "test")

Ranges = dict[str, list[tuple[int, int]]]
"""Split of the data set -> its rows, from and to, in order and apart."""

MAX_SPANS = 3

Overlaps = dict[tuple[str, str], str]
"""Two splits of a run of exactly the same rows -> what that means, a sentence."""


def find_overlaps(
    expressions: Mapping[str, str], lengths: Mapping[str, int], recipe: Recipe
) -> tuple[Overlaps, list[str]]:
    """Compare the rows of the splits of a run.

    Args:
        expressions: Split of the run -> which rows of the data set it is, such as "train[:80%]".
        lengths: Split of the data set -> its number of rows.
        recipe: For places in messages.

    Returns:
        The pairs of exactly the same rows, and sentences about rows that are in one split more than once.

    Raises:
        DataError: Splits have some rows in common, but not all, or rows would be on both sides of a hold-out.
    """
    parts = {name: _read(expression, lengths) for name, expression in expressions.items()}
    rows = {name: _merge(part) for name, part in parts.items()}
    problems, same = [], {}
    for first, second in combinations(sort_splits(parts), 2):
        shared = _intersect(rows[first], rows[second])
        if not shared:
            continue
        if rows[first] == rows[second]:
            same[first, second] = _say_same(first, second, expressions)
        else:
            problems.append(_refuse(first, second, shared, rows, expressions, lengths, recipe))
    if "eval" not in parts and ("train", "test") in same:  # eval is held out of train
        same["eval", "test"] = same["train", "test"]
    notes = []
    for name, part in parts.items():
        twice = sum(end - start for _, start, end in part) - _count(rows[name])
        if twice and name == "train" and "eval" not in expressions:
            what = f"{twice:,} rows are in train ({expressions[name]}) more than once, and eval is part of it"
            todo = f"Write splits: {{train: {_quote(rows[name], lengths)}}}, or name a split for eval."
            problems.append(DataError(what, where=recipe.where("data.splits.train"), todo=todo))
        elif twice:
            notes.append(f"{name}: {twice:,} rows of {expressions[name]} are in it more than once")
    if len(problems) > 1:
        raise RecipeError.join(problems)
    if problems:
        raise problems[0]
    return same, notes


def count_shared(first: str, second: str, lengths: Mapping[str, int]) -> int:
    """Return how many rows two split expressions have in common.

    Example:
        >>> count_shared("train[:6]", "train[4:]+test", {"train": 10, "test": 5})
        2
    """
    rows, others = (_merge(_read(expression, lengths)) for expression in (first, second))
    return _count(_intersect(rows, others))


def sort_splits(names: Iterable[str]) -> list[str]:
    """Return splits in the order in which a run uses them."""
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def _say_same(first: str, second: str, expressions: Mapping[str, str]) -> str:
    if first == "train":
        return (
            f"{second} is the training data ({expressions[second]}): "
            "its scores say nothing about data the model has not seen"
        )
    return (
        f"eval and test are the same rows ({expressions[second]}): the best model is chosen by the rows "
        "it is tested on, so the test scores are too good"
    )


def _refuse(
    first: str,
    second: str,
    shared: Ranges,
    rows: Mapping[str, Ranges],
    expressions: Mapping[str, str],
    lengths: Mapping[str, int],
    recipe: Recipe,
) -> DataError:
    """Say which rows are in two splits, and how to write the splits apart."""
    apart = _subtract(rows[second], rows[first])
    changed, left = (second, apart) if apart else (first, _subtract(rows[first], rows[second]))
    count = _count(shared)
    spans = [(name, start, end) for name, own in shared.items() for start, end in own]
    listed = ", ".join(f"{name}[{start}:{end}]" for name, start, end in spans[:MAX_SPANS])
    more = ", ..." if len(spans) > MAX_SPANS else ""
    are = "rows are" if count > 1 else "row is"
    return DataError(
        f"{count:,} {are} both in {first} ({expressions[first]}) and in {second} ({expressions[second]}): "
        f"{listed}{more}",
        where=recipe.where(f"data.splits.{second}"),
        todo=f"Write splits: {{{changed}: {_quote(left, lengths)}}} for rows of its own.",
    )


def _read(expression: str, lengths: Mapping[str, int]) -> list[tuple[str, int, int]]:
    read = datasets.ReadInstruction.from_spec(expression).to_absolute(dict(lengths))
    return [(part.splitname, part.from_, part.to) for part in read if part.to > part.from_]


def _merge(parts: Iterable[tuple[str, int, int]]) -> Ranges:
    merged: Ranges = {}
    for name, start, end in sorted(parts):
        spans = merged.setdefault(name, [])
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return merged


def _intersect(first: Ranges, second: Ranges) -> Ranges:
    shared = [
        (name, max(a[0], b[0]), min(a[1], b[1]))
        for name in first.keys() & second.keys()
        for a in first[name]
        for b in second[name]
        if max(a[0], b[0]) < min(a[1], b[1])
    ]
    return _merge(shared)


def _subtract(first: Ranges, second: Ranges) -> Ranges:
    left = []
    for name, spans in first.items():
        for start, end in spans:
            at = start
            for taken, until in second.get(name, []):
                if until > at and taken < end:
                    left.append((name, at, taken))
                    at = until
            left.append((name, at, end))
    return _merge(part for part in left if part[2] > part[1])


def _count(ranges: Ranges) -> int:
    return sum(end - start for spans in ranges.values() for start, end in spans)


def _quote(ranges: Ranges, lengths: Mapping[str, int]) -> str:
    """Write ranges as a split expression of a recipe."""
    words = []
    for name, spans in ranges.items():
        for start, end in spans:
            left, right = start or "", "" if end == lengths[name] else end
            words.append(f"{name}[{left}:{right}]" if left or right else name)
    return f'"{"+".join(words)}"'
