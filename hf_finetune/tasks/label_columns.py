"""Label columns of every shape -> a label space and numbers.

    ClassLabel, text, bool, integers     one class per row           int64   [N]
    lists of ClassLabel or text          several labels per row      float32 [N, C], made row by row
    vectors of 0 and 1                   several labels per row      float32 [N, C]
    floats, vectors of floats            regression                  float32 [N] or [N, K]

The columns stay Arrow or numpy arrays: no Python object per row.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_finetune.errors import DataError
from hf_finetune.problems import MULTI, REGRESSION, SINGLE
from hf_finetune.tasks.features import describe_feature, label_kind
from hf_finetune.tasks.labels import LabelSpace, LabelTargets, ProblemType

__all__ = ["build_targets", "read_numbers", "read_vectors", "refuse_nulls"]


def build_targets(
    columns: Mapping[str, pa.ChunkedArray],
    feature: Any,
    *,
    problem_type: str | None,
    where: Callable[[str], str],
) -> tuple[LabelSpace, dict[str, LabelTargets]]:
    """Turn label columns into numbers.

    Args:
        columns: Split -> label column. The first is the training split: it decides which labels there are,
            and text gets its numbers in the order of first appearance there.
        feature: Of the column, the same in all splits.
        problem_type: What the recipe says; None infers it from the column.
        where: Key of the recipe -> place, for messages.

    Returns:
        The label space, and the targets of every split.

    Raises:
        DataError: The column does not fit the problem type; a row has no label or one the training split
            does not know; the training split has only one class.
    """
    place = where("data.columns.label")
    kind = label_kind(feature)
    if kind is None:
        raise DataError(
            f"a column of {type(feature).__name__} cannot be a label",
            where=place,
            todo="Labels are ClassLabel, text, integers or floats, or lists of these.",
        )
    for split, column in columns.items():
        refuse_nulls(split, column, place)
    inferred = _infer(kind, next(iter(columns.values())))
    chosen = problem_type or inferred
    if chosen == REGRESSION and kind[0] in ("integer", "float", "bool"):
        return _regression(columns, place)
    if chosen != inferred:
        raise DataError(
            f"the label column holds {describe_feature(feature)}, which does not fit {chosen!r}",
            where=where("task.problem_type"),
            todo=f"Leave problem_type out (it would be {inferred!r}), or name another label column.",
        )
    if chosen == SINGLE:
        return _single(columns, feature, kind[0], place)
    if kind[0] in ("class", "text"):
        return _sets(columns, feature, kind[0], place)
    return _vectors(columns, place)


def _infer(kind: tuple[str, bool], train: pa.ChunkedArray) -> ProblemType:
    content, is_list = kind
    if not is_list:
        return REGRESSION if content == "float" else SINGLE
    if content != "float":
        return MULTI
    values = pc.list_flatten(train)
    is_hot = pc.all(pc.or_(pc.equal(values, 0.0), pc.equal(values, 1.0))).as_py()
    return MULTI if is_hot else REGRESSION


def _single(
    columns: Mapping[str, pa.ChunkedArray], feature: Any, content: str, place: str
) -> tuple[LabelSpace, dict[str, LabelTargets]]:
    train_split, train = next(iter(columns.items()))
    names, codes = _encoder(train, feature, content)
    targets = {split: LabelTargets(values=codes(split, column, place)) for split, column in columns.items()}
    present = np.unique(targets[train_split].values)
    if len(present) == 1:
        raise DataError(
            f"every row of the split {train_split!r} has the label {names[present[0]]!r}: "
            "there is nothing to tell apart",
            where=place,
            todo="Check the split expression and the label column.",
        )
    space = LabelSpace(problem_type=SINGLE, names=names, num_labels=len(names))
    return space, targets


def _sets(
    columns: Mapping[str, pa.ChunkedArray], feature: Any, content: str, place: str
) -> tuple[LabelSpace, dict[str, LabelTargets]]:
    flat = {split: pc.list_flatten(column) for split, column in columns.items()}
    names, codes = _encoder(next(iter(flat.values())), feature.feature, content)
    targets = {}
    for split, column in columns.items():
        lengths = np.asarray(pc.list_value_length(column)).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        values = codes(split, flat[split], place, offsets)
        targets[split] = LabelTargets(values=values, offsets=offsets, num_labels=len(names))
    space = LabelSpace(problem_type=MULTI, names=names, num_labels=len(names))
    return space, targets


def _vectors(
    columns: Mapping[str, pa.ChunkedArray], place: str
) -> tuple[LabelSpace, dict[str, LabelTargets]]:
    dense = read_vectors(columns, place)
    num_labels = next(iter(dense.values())).shape[1]
    names = tuple(str(i) for i in range(num_labels))
    space = LabelSpace(problem_type=MULTI, names=names, num_labels=num_labels)
    return space, {split: LabelTargets(values=values) for split, values in dense.items()}


def read_vectors(columns: Mapping[str, pa.ChunkedArray], place: str) -> dict[str, np.ndarray]:
    """Return columns of vectors of 0 and 1 as float32 [N, C].

    Raises:
        DataError: A vector has another length than the first, or another number in it.
    """
    dense = _dense(columns, place)
    for split, values in dense.items():
        wrong = np.flatnonzero(~np.isin(values, (0.0, 1.0)).all(axis=1))
        if len(wrong):
            raise DataError(
                f"{split} row {wrong[0]}: a list of numbers as label must be a vector of 0 and 1, "
                f"got {values[wrong[0]].tolist()}",
                where=place,
                todo="Give class numbers as a list of ClassLabel.",
            )
    return dense


def _regression(
    columns: Mapping[str, pa.ChunkedArray], place: str
) -> tuple[LabelSpace, dict[str, LabelTargets]]:
    dense = read_numbers(columns, place)
    first = next(iter(dense.values()))
    num_labels = 1 if first.ndim == 1 else first.shape[1]
    space = LabelSpace(problem_type=REGRESSION, names=(), num_labels=num_labels)
    return space, {split: LabelTargets(values=values) for split, values in dense.items()}


def read_numbers(columns: Mapping[str, pa.ChunkedArray], place: str) -> dict[str, np.ndarray]:
    """Return columns of numbers as float32 [N], and of lists of K numbers as [N, K]; of lists of one as [N].

    Raises:
        DataError: A list has another length than the first; a number is not finite.
    """
    dense = _dense(columns, place)
    for split, values in dense.items():
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(wrong):
            raise DataError(f"{split} row {wrong[0]}: the target is {values[wrong[0]]}", where=place)
    return {
        split: values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values
        for split, values in dense.items()
    }


def _dense(columns: Mapping[str, pa.ChunkedArray], place: str) -> dict[str, np.ndarray]:
    """Return float32 [N] for scalars, [N, K] for lists, which must all have the same length."""
    dense: dict[str, np.ndarray] = {}
    width: int | None = None
    for split, column in columns.items():
        if not pa.types.is_nested(column.type):
            dense[split] = column.cast(pa.float32(), safe=False).to_numpy()
            continue
        lengths = np.asarray(pc.list_value_length(column))
        width = int(lengths[0]) if width is None and len(lengths) else width
        wrong = np.flatnonzero(lengths != width)
        if len(wrong):
            raise DataError(
                f"{split} row {wrong[0]}: a label of {lengths[wrong[0]]} numbers where the first has {width}",
                where=place,
                todo="Vectors of numbers must all have the same length.",
            )
        flat = pc.list_flatten(column).cast(pa.float32(), safe=False)
        dense[split] = np.asarray(flat.to_numpy()).reshape(len(column), width or 0)
    return dense


def _encoder(
    train: pa.ChunkedArray, feature: Any, content: str
) -> tuple[tuple[str, ...], Callable[..., np.ndarray]]:
    """Return the class names and what turns a column of labels into their numbers."""
    if content == "class":
        names = tuple(feature.names)
        known = pa.array(range(len(names)), train.type)
    elif content == "text":
        known = pc.unique(train)  # in the order of first appearance
        names = tuple(known.to_pylist())
    else:
        known = pc.unique(train).sort()
        names = tuple(str(value) for value in known.to_pylist())

    def encode(
        split: str, column: pa.ChunkedArray, place: str, offsets: np.ndarray | None = None
    ) -> np.ndarray:
        codes = pc.index_in(column, value_set=known).combine_chunks()
        if codes.null_count:
            at = int(np.flatnonzero(np.asarray(codes.is_null()))[0])
            row = at if offsets is None else int(np.searchsorted(offsets, at, side="right")) - 1
            raise _unknown_label(split, row, column[at].as_py(), names, content, place)
        return np.asarray(codes).astype(np.int64)

    return names, encode


def _unknown_label(
    split: str, row: int, value: Any, names: tuple[str, ...], content: str, place: str
) -> DataError:
    if content == "class":
        what = f"{split} row {row}: the label {value} " + (
            "means 'not labelled'" if value == -1 else f"is not one of the {len(names)} classes"
        )
        return DataError(what, where=place, todo="Name a split that has labels.")
    near = difflib.get_close_matches(str(value), names, n=1)
    return DataError(
        f"{split} row {row}: the label {value!r} is not among the {len(names)} labels of the training split",
        where=place,
        todo=f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names[:20])}",
    )


def refuse_nulls(split: str, column: pa.ChunkedArray, place: str) -> None:
    """Refuse rows without a label."""
    if column.null_count:
        row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
        raise DataError(
            f"{split} row {row}: the label is missing",
            where=place,
            todo="Remove the row; or, where a csv has a class named NA, None or null, "
            "say data: {options: {keep_default_na: false, na_values: ['']}}.",
        )
