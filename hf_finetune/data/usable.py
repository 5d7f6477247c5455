"""Which rows of a split are used: those that can be, and for training those that are not held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from hf_finetune.data.columns import pick_columns
from hf_finetune.data.cuts import add_bounds, refuse_shorter_rows
from hf_finetune.data.holdout import hold_out
from hf_finetune.data.load import find_folders
from hf_finetune.data.prepare import PreparedSplit, prepare_split
from hf_finetune.data.rows import RawRows
from hf_finetune.errors import DataError
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Space, Targets

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["divide", "read_usable"]


def read_usable(
    recipe: Recipe,
    task: Task,
    processor: Any,
    sources: Mapping[str, datasets.Dataset],
    columns: Mapping[str, str],
    targets: Mapping[str, Targets],
    labels: Space,
    expressions: Mapping[str, str],
) -> tuple[dict[str, RawRows], dict[str, list[tuple[int, str]]]]:
    """Decode and check the rows of some splits once, for training as for scoring.

    Args:
        recipe: Reads `data`.
        task: Says how inputs are decoded and checked.
        processor: Of the checkpoint, or of the trained model.
        sources: Split -> its rows as they were loaded, all with the same features.
        columns: Role -> column.
        targets: Split -> what its rows should come out as.
        labels: What the model can say.
        expressions: Split -> which split of the data set it is, such as "train[:90%]".

    Returns:
        Split -> the rows that can be used, and split -> those that cannot and are dropped: (row, reason).

    Raises:
        DataError: Rows cannot be used, and the recipe says to stop then; or none of a split can.
    """
    column, _ = pick_columns(task, columns)
    where = recipe.where("data.columns")
    sources = {name: add_bounds(source, column, columns, where=where) for name, source in sources.items()}
    feature = next(iter(sources.values())).features[column]
    preparation = task.build_preparation(feature, find_folders(recipe), processor=processor)
    prepared = {
        name: prepare_split(
            source, column, preparation, name=name, expression=expressions[name], recipe=recipe
        )
        for name, source in sources.items()
    }
    for name, split in prepared.items():
        refuse_shorter_rows(name, split, columns, recipe, task, processor)
    problems = {name: _find_problems(prepared[name], task, targets[name], labels) for name in prepared}
    kept, dropped = _judge_problems(prepared, problems, recipe)
    raw = {name: RawRows(prepared[name], preparation, kept[name], targets[name]) for name in prepared}
    return raw, dropped


def _find_problems(
    split: PreparedSplit, task: Task, targets: Targets, labels: Space
) -> list[tuple[int, str]]:
    """List the rows that cannot be used, for their input or for what it is to be: (row, reason)."""
    found = dict(task.judge(split.lengths(), targets, labels)) | dict(split.find_problems())
    return sorted(found.items())


def _judge_problems(
    prepared: Mapping[str, PreparedSplit], problems: Mapping[str, list[tuple[int, str]]], recipe: Recipe
) -> tuple[dict[str, np.ndarray], dict[str, list[tuple[int, str]]]]:
    """Return the rows to keep and those to drop; stop at bad ones when the recipe says so."""
    bad = [f"{name} row {row}: {reason}" for name, rows in problems.items() for row, reason in rows]
    if bad and recipe.data.bad_rows == "stop":
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DataError(
            f"{len(bad)} unusable row{'s'[: len(bad) > 1]}: " + "; ".join(bad[:5]) + more,
            where=recipe.where("data.bad_rows"),
            todo="Repair or remove them, or say data: {bad_rows: drop}.",
        )
    kept = {
        name: np.setdiff1d(np.arange(len(split.source)), [row for row, _ in problems[name]])
        for name, split in prepared.items()
    }
    for name, rows in kept.items():
        if not len(rows):
            raise DataError(
                f"no row of the {name} split is usable", where=recipe.where(f"data.splits.{name}")
            )
    return kept, {name: rows for name, rows in problems.items() if rows}


def divide(train: RawRows, recipe: Recipe, seed: int) -> tuple[RawRows, RawRows]:
    """Hold rows of the training split out for evaluation, as the recipe says: what stays, what does not."""
    classes = train.targets.classes
    stay, held = hold_out(
        len(train), recipe.data.holdout, seed=seed, classes=None if classes is None else classes[train.rows]
    )
    if not len(held):
        raise DataError(
            f"the training split ({len(train)} rows) is too small to hold rows out for evaluation",
            where=recipe.where("data.splits"),
            todo="Name a split in data.splits.eval.",
        )
    return train.choose(stay), train.choose(held)
