"""A label column of any data set -> the numbers of a model that is trained, by the names of its classes.

    ClassLabel, text         its names
    integers, bool           as text, as in training: 7 is the class "7"; the numbers of a model whose classes
                             have no names but LABEL_0, LABEL_1 ...
    lists of these           the same; vectors of 0 and 1 only for a model that was trained on such vectors
    floats, lists of floats  regression: as many numbers as the model gives

Nothing is guessed: what is no class of the model by its very name is unknown.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_finetune.errors import DataError
from hf_finetune.formatting import list_some
from hf_finetune.problems import MULTI, REGRESSION
from hf_finetune.tasks.features import describe_feature, label_kind
from hf_finetune.tasks.label_columns import read_numbers, read_vectors, refuse_nulls
from hf_finetune.tasks.labels import LabelSpace, LabelTargets
from hf_finetune.tasks.values import Matched

__all__ = ["Unknown", "match_labels"]

Unknown = Literal["refuse", "wrong"]
"""What to do about rows of classes that the model does not know: stop, or count them as mistakes."""

IGNORED = -100
"""The target of a row whose class is unknown: it has no loss."""

SHOWN = 10


def match_labels(
    column: pa.ChunkedArray,
    feature: Any,
    space: LabelSpace,
    *,
    split: str,
    unknown: Unknown,
    where: Callable[[str], str],
) -> Matched:
    """Number the labels of a split as a model does.

    Args:
        column: The labels.
        feature: Of the column.
        space: What the model can say.
        split: Its name, for messages.
        unknown: What to do about classes that the model does not know.
        where: Key of the recipe -> place, for messages.

    Raises:
        DataError: The labels are of another kind than the model's; a row has none, or one that the model does
            not know and that is to be refused; a name differs from a class's by case or spaces alone; no row
            has a class of the model.
    """
    place = where("data.columns.label")
    refuse_nulls(split, column, place)
    content, is_list = label_kind(feature) or ("", False)
    if space.problem_type == REGRESSION:
        return Matched(targets=_match_numbers(column, feature, content, space, split, place))
    is_vector = is_list and content in ("integer", "float", "bool")
    if not content or is_list != (space.problem_type == MULTI) or (content == "float" and not is_list):
        raise DataError(
            f"{split}: the label column holds {describe_feature(feature)}, and the model was trained for "
            f"{space.problem_type}",
            where=place,
            todo="Name another column: data.columns.label=COLUMN.",
        )
    if is_vector:
        return Matched(targets=_match_vectors(column, space, split, place))
    values = pc.list_flatten(column) if is_list else column
    offsets = None
    if is_list:
        lengths = np.asarray(pc.list_value_length(column)).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes, names = _name(values, getattr(feature, "feature", feature), content, split, place)
    numbers, unknown_labels = _number(names, space)
    counts = np.bincount(codes, minlength=len(names))
    rows = {name: int(counts[i]) for i, name in enumerate(names) if name in unknown_labels}
    if unknown_labels:
        _judge(rows, space, split, content, unknown, is_any_known=len(rows) < len(names), place=place)
    order = {name: number for number, name in enumerate(rows)}
    outside = np.array([order.get(name, -1) for name in names], np.int64)
    return _targets(numbers[codes], outside[codes], offsets, space, rows)


def _targets(
    numbers: np.ndarray,
    outside: np.ndarray,
    offsets: np.ndarray | None,
    space: LabelSpace,
    rows: Mapping[str, int],
) -> Matched:
    """Divide labels into those of the model and the others, a row each.

    Args:
        numbers: The model's number of every label, -1 where it has none.
        outside: The number of every label among the unknown ones, -1 where it is known.
        offsets: Where each row's labels start; None where each has one.
        space: What the model can say.
        rows: Unknown class -> its rows.
    """
    of_rows = np.arange(len(numbers) + 1) if offsets is None else offsets
    starts = np.concatenate([[0], np.cumsum(outside >= 0)])[of_rows]
    unknown_labels = LabelTargets(values=outside[outside >= 0], offsets=starts, num_labels=len(rows))
    if offsets is None:
        targets = LabelTargets(values=np.where(numbers < 0, IGNORED, numbers))
    else:
        known = numbers >= 0
        inner = np.concatenate([[0], np.cumsum(known)])[offsets]
        targets = LabelTargets(values=numbers[known], offsets=inner, num_labels=space.num_labels)
    return Matched(targets=targets, unknown=dict(rows), unknown_labels=unknown_labels if rows else None)


def _name(
    values: pa.ChunkedArray, feature: Any, content: str, split: str, place: str
) -> tuple[np.ndarray, list[str]]:
    """Return which of the names that occur each label has, and these names."""
    unique = pc.unique(values)
    found = unique.to_pylist()
    if content == "class":
        wrong = [code for code in found if not 0 <= code < len(feature.names)]
        if wrong:
            means = "means 'not labelled'" if -1 in wrong else "is no class of the column"
            raise DataError(
                f"{split}: the label {wrong[0]} {means}", where=place, todo="Name a split that has labels."
            )
        found = [feature.names[code] for code in found]
    codes = np.asarray(pc.index_in(values, value_set=unique).combine_chunks()).astype(np.int64)
    return codes, [str(value) for value in found]


def _number(names: Sequence[str], space: LabelSpace) -> tuple[np.ndarray, set[str]]:
    """Return the model's number of each name, -1 for those that it does not know, and the latter."""
    known = dict(space.label2id)
    if space.names == tuple(f"LABEL_{i}" for i in range(space.num_labels)):  # names that say only the number
        known |= {str(i): i for i in range(space.num_labels)}
    numbers = np.array([known.get(name, -1) for name in names], np.int64)
    return numbers, {name for name in names if name not in known}


def _judge(
    rows: Mapping[str, int],
    space: LabelSpace,
    split: str,
    content: str,
    unknown: Unknown,
    *,
    is_any_known: bool,
    place: str,
) -> None:
    """Refuse unknown classes, or let them count as mistakes where that is asked for and can be meant."""
    by_key = {_key(name): name for name in space.names}
    near = {name: by_key[_key(name)] for name in rows if _key(name) in by_key}
    if near:
        shown = ", ".join(f"{name!r} for {own!r}" for name, own in list(near.items())[:SHOWN])
        raise DataError(
            f"{split}: labels are written otherwise than the model's classes: {shown}",
            where=place,
            todo="Write them as the model does.",
        )
    counted = [f"{name!r} ({count} label{'s'[: count > 1]})" for name, count in rows.items()]
    listed = list_some(counted, SHOWN)
    known = list_some([*map(repr, space.names)], SHOWN)
    if not is_any_known:
        why = " (numbers, and which class each stands for is not said)" if content == "integer" else ""
        raise DataError(
            f"{split}: no label is a class of the model{why}: {listed}; its classes are {known}",
            where=place,
            todo="Name the right column (data.columns.label=COLUMN), or write the classes as the model does.",
        )
    if unknown == "refuse":
        pairs = {name: difflib.get_close_matches(name, space.names, n=1) for name in rows}
        meant = ", ".join(f"{found[0]!r} for {name!r}" for name, found in pairs.items() if found)
        raise DataError(
            f"{split}: labels of classes that the model does not know: {listed}; its classes are {known}",
            where=place,
            todo=(f"Did you mean {meant}? " if meant else "")
            + "Take these rows out, or count them as mistakes by --unknown-labels wrong.",
        )


def _key(name: str) -> str:
    """Return what two names share that a reader takes for one: "Red ", "red"; "01", "1.0"."""
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    try:
        return f"number {float(plain)!r}"
    except ValueError:
        return plain


def _match_vectors(column: pa.ChunkedArray, space: LabelSpace, split: str, place: str) -> LabelTargets:
    if space.names != tuple(map(str, range(space.num_labels))):
        raise DataError(
            f"{split}: the labels are vectors of numbers, and which class each place stands for is not said; "
            f"the model's classes are {list_some([*map(repr, space.names)], SHOWN)}",
            where=place,
            todo="Give each row a list of class names.",
        )
    values = read_vectors({split: column}, place)[split]
    if values.shape[1] != space.num_labels:
        raise DataError(
            f"{split}: vectors of {values.shape[1]} labels, and the model has {space.num_labels}", where=place
        )
    return LabelTargets(values=values)


def _match_numbers(
    column: pa.ChunkedArray, feature: Any, content: str, space: LabelSpace, split: str, place: str
) -> LabelTargets:
    if content not in ("integer", "float", "bool"):
        raise DataError(
            f"{split}: the label column holds {describe_feature(feature)}, and the model gives numbers",
            where=place,
            todo="Name another column: data.columns.label=COLUMN.",
        )
    values = read_numbers({split: column}, place)[split]
    width = 1 if values.ndim == 1 else values.shape[1]
    if width != space.num_labels:
        raise DataError(
            f"{split}: a label is {width} number{'s'[: width > 1]}, and the model gives {space.num_labels}",
            where=place,
            todo="Name another column: data.columns.label=COLUMN.",
        )
    return LabelTargets(values=values)
