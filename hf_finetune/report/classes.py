"""Confusion between classes, and precision, recall and f1 of each."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_finetune.report.record import RunRecord

__all__ = ["ClassScore", "Confusion", "Pair", "build_confusion", "class_names", "score_labels"]

Counts = npt.NDArray[np.int64]

MAX_TABLE_CLASSES = 16
MAX_PAIRS_BESIDE_TABLE, MAX_PAIRS = 10, 20
MAX_HEAT_SIDE = 250
HEAT_RIGHT, HEAT_WRONG = (59, 130, 206), (222, 108, 32)


@dataclass(frozen=True)
class Cell:
    """One cell of the table: how many, and a CSS class for how large a share of its row."""

    count: int
    css: str


@dataclass(frozen=True)
class Pair:
    """So many rows of class `true` were taken for class `predicted`; `share` of that class' rows."""

    true: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and f1 of a class; None where they are not defined."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What a confusion matrix says.

    Args:
        split: Where it was measured.
        names: Of the classes.
        num_rows: Sum of all counts.
        num_right: Sum of the diagonal.
        cells: The whole table, rows are true classes; empty when there are too many classes for one.
        pairs: The most confused pairs, most often first.
        heat_map: PNG of all counts, for when there is no table.
        per_class: Lowest f1 first where there are many, else in the order of the classes.
    """

    split: str
    names: tuple[str, ...]
    num_rows: int
    num_right: int
    cells: list[list[Cell]]
    pairs: list[Pair]
    heat_map: bytes | None
    per_class: list[ClassScore]


def class_names(record: RunRecord) -> tuple[str, ...]:
    """Return the names of the classes; empty for regression."""
    names = record.scores.get("labels")
    return tuple(str(name) or "(no name)" for name in names) if isinstance(names, list) else ()


def build_confusion(record: RunRecord) -> Confusion | None:
    """Read the confusion matrix of the test split (else of another one), or count it from the predictions.

    Returns:
        None for a run that has neither, and for one whose matrix makes no sense.
    """
    split, counts, names = _find_counts(record)
    if counts is None or not counts.sum():
        return None
    num_classes = len(counts)
    names = (*names[:num_classes], *(f"class {i}" for i in range(len(names), num_classes)))
    is_small = num_classes <= MAX_TABLE_CLASSES
    per_class = _score_classes(counts, names)
    return Confusion(
        split=split,
        names=names,
        num_rows=int(counts.sum()),
        num_right=int(counts.trace()),
        cells=_cells(counts) if is_small else [],
        pairs=_pairs(counts, names)[: MAX_PAIRS_BESIDE_TABLE if is_small else MAX_PAIRS],
        heat_map=None if is_small else _heat_map(counts),
        per_class=per_class
        if is_small
        else sorted(per_class, key=lambda one: (one.f1 is None, one.f1 or 0.0)),
    )


def _by_f1(one: ClassScore) -> tuple[bool, float]:
    return one.f1 is None, one.f1 or 0.0


def score_labels(record: RunRecord) -> list[ClassScore]:
    """Score each label of a multi-label run by its predictions on the test split."""
    names = class_names(record)
    truths, predictions = record.predictions.get("label", []), record.predictions.get("prediction", [])
    if record.scores.get("problem_type") != "multi_label_classification" or not names:
        return []
    right, said, there = dict.fromkeys(names, 0), dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for truth, prediction in zip(truths, predictions, strict=True):
        true_names, said_names = _label_set(truth, names), _label_set(prediction, names)
        for name in true_names:
            there[name] += 1
        for name in said_names:
            said[name] += 1
        for name in true_names & said_names:
            right[name] += 1
    return [_class_score(name, right[name], said[name], there[name]) for name in names]


def _label_set(value: Any, names: tuple[str, ...]) -> set[str]:
    """Take a list of names, or a list of 0 and 1 in the order of the names."""
    if not isinstance(value, list):
        return set()
    if len(value) == len(names) and all(not isinstance(item, str) for item in value):
        return {name for name, item in zip(names, value, strict=True) if item}
    return {str(item) for item in value} & set(names)


def _find_counts(record: RunRecord) -> tuple[str, Counts | None, tuple[str, ...]]:
    details = record.scores.get("details")
    names = class_names(record)
    for split in ("test", "eval"):
        part = details.get(split) if isinstance(details, Mapping) else None
        counts = _square(part.get("confusion_matrix")) if isinstance(part, Mapping) else None
        if counts is not None:
            return split, counts, names
    is_single = record.scores.get("problem_type") in (None, "single_label_classification")
    counts = _count(record.predictions, names) if is_single and names else None
    return record.predictions_split, counts, names


def _square(matrix: Any) -> Counts | None:
    try:
        counts = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    is_square = counts.ndim == 2 and counts.shape[0] == counts.shape[1]
    is_sane = is_square and counts.size > 0 and np.isfinite(counts).all() and counts.min() >= 0
    return counts.round().astype(np.int64) if is_sane else None


def _count(predictions: Mapping[str, list[Any]], names: tuple[str, ...]) -> Counts | None:
    index: dict[Any, int] = {name: i for i, name in enumerate(names)} | {i: i for i in range(len(names))}
    try:
        pairs = [
            (index[truth], index[prediction])
            for truth, prediction in zip(predictions["label"], predictions["prediction"], strict=True)
        ]
    except (KeyError, TypeError):
        return None
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    if pairs:
        np.add.at(counts, tuple(np.array(pairs).T), 1)
    return counts


def _class_score(name: str, right: int, said: int, there: int) -> ClassScore:
    return ClassScore(
        name=name,
        precision=right / said if said else None,
        recall=right / there if there else None,
        f1=2 * right / (said + there) if said + there else None,
        support=there,
    )


def _score_classes(counts: Counts, names: tuple[str, ...]) -> list[ClassScore]:
    right, said, there = counts.diagonal().tolist(), counts.sum(axis=0).tolist(), counts.sum(axis=1).tolist()
    return [_class_score(name, right[i], said[i], there[i]) for i, name in enumerate(names)]


def _cells(counts: Counts) -> list[list[Cell]]:
    """Shade by the share of the row: a rare class must be as readable as a frequent one.

    Mistakes are mostly a few per cent of a row, so that their shades follow the square root.
    """
    table = []
    for i, row in enumerate(counts.tolist()):
        total = sum(row)
        cells = []
        for j, count in enumerate(row):
            share = count / total if total else 0.0
            level = math.ceil(5 * (share if i == j else math.sqrt(share)))
            kind = "right" if i == j else "wrong"
            cells.append(Cell(count, f"{kind}-{level}" if count else "none"))
        table.append(cells)
    return table


def _pairs(counts: Counts, names: tuple[str, ...]) -> list[Pair]:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    totals = counts.sum(axis=1)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    places = [(int(i) // len(names), int(i) % len(names)) for i in order]
    return [
        Pair(names[i], names[j], int(wrong[i, j]), float(wrong[i, j] / totals[i]))
        for i, j in places
        if wrong[i, j]
    ]


def _heat_map(counts: Counts) -> bytes:
    """Draw all counts into a PNG: mistakes over the right ones, strength in the alpha channel.

    Alpha lets one picture stand on a light and on a dark page. Many classes are drawn as blocks of classes;
    a block is as strong as its strongest cell, so that a single confused pair does not fade away.
    """
    from PIL import Image

    block = math.ceil(len(counts) / MAX_HEAT_SIDE)
    side = math.ceil(len(counts) / block)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    padded = np.zeros((side * block, side * block))
    padded[: len(counts), : len(counts)] = np.sqrt(share)
    is_right = np.eye(side * block, dtype=bool)
    right = np.where(is_right, padded, 0.0).reshape(side, block, side, block).max(axis=(1, 3))
    wrong = np.where(is_right, 0.0, padded).reshape(side, block, side, block).max(axis=(1, 3))
    wrong = np.where(wrong > 0, 0.25 + 0.75 * wrong, 0.0)
    pixels = np.zeros((side, side, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((right >= wrong)[..., None], HEAT_RIGHT, HEAT_WRONG)
    pixels[..., 3] = (255 * np.maximum(right, wrong)).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
