"""Which rows of a split are used: those that can be, and for training those that are not held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hf_finetune.data.holdout import hold_out
from hf_finetune.data.prepare import PreparedSplit, forget
from hf_finetune.data.rows import RawRows
from hf_finetune.errors import DataError
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Preparation, Space, Targets

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["divide", "find_problems", "judge_problems"]


def find_problems(split: PreparedSplit, task: Task, targets: Targets, labels: Space) -> list[tuple[int, str]]:
    """List the rows that cannot be used, for their input or for what it is to be: (row, reason)."""
    found = dict(task.judge(split.lengths(), targets, labels)) | dict(split.find_problems())
    return sorted(found.items())


def judge_problems(
    prepared: Mapping[str, PreparedSplit], problems: Mapping[str, list[tuple[int, str]]], recipe: Recipe
) -> tuple[dict[str, np.ndarray], dict[str, list[tuple[int, str]]]]:
    """Return the rows to keep and those to drop; stop at bad ones when the recipe says so."""
    bad = [f"{name} row {row}: {reason}" for name, rows in problems.items() for row, reason in rows]
    if bad and recipe.data.bad_rows == "stop":
        for split in prepared.values():
            forget(split)
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


def divide(train: RawRows, preparation: Preparation, recipe: Recipe, seed: int) -> tuple[RawRows, RawRows]:
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
    kept, out = (RawRows(train.split, preparation, train.rows[part], train.targets) for part in (stay, held))
    return kept, out
