"""Which column plays which role of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import datasets

from hf_finetune.data.cuts import BOUNDS, find_bounds, refuse_nested
from hf_finetune.errors import DataError
from hf_finetune.formatting import offer
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.features import describe_feature
from hf_finetune.tasks.values import Role

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["find_columns", "find_input", "pick_columns"]


def find_columns(recipe: Recipe, task: Task, train: datasets.Dataset) -> dict[str, str]:
    """Return role -> column: as the recipe says, the rest inferred from the features.

    Raises:
        DataError: A named role or column is not there; no column fits a role; several do.
    """
    roles = {role.name: role for role in task.roles}
    for name, column in recipe.data.columns.items():
        place = recipe.where(f"data.columns.{name}")
        if name not in roles:
            raise DataError(
                f"{task.name} has no role {name!r}", where=place, todo=offer(name, roles, "Its roles")
            )
        if column is None:
            if name in BOUNDS:
                continue
            raise DataError(
                f"data.columns.{name} is null", where=place, todo="Name its column, or leave it out."
            )
        if column not in train.column_names:
            raise DataError(
                f"the data set has no column {column!r}",
                where=place,
                todo=offer(column, train.column_names, "Its columns"),
            )
    where = recipe.where("data.columns")
    if task.modality == "audio":
        refuse_nested(train, recipe.data.columns.get(task.roles[0].name), where=where)
    found = {name: column for name, column in recipe.data.columns.items() if column is not None}
    sample = _first_row(train)
    for name, role in roles.items():
        if name not in found and not role.is_optional:
            taken = set(found.values())
            free = {column: feature for column, feature in train.features.items() if column not in taken}
            found[name] = _infer(role, free, sample, where)
    return found | find_bounds(task, train, recipe.data.columns, found, where=where)


def pick_columns(task: Task, columns: Mapping[str, str]) -> tuple[str, str]:
    """Return the column of the input, and that which the targets are made of.

    That is the task's first column beside the input that it needs. A task that needs none makes its targets
    of the input, as one that restores masked patches does.

    Args:
        task: Says which columns there are.
        columns: Role -> column.
    """
    first, *others = task.roles
    needed = [columns[role.name] for role in others if not role.is_optional]
    return columns[first.name], (needed or [columns[first.name]])[0]


def find_input(task: Task, rows: datasets.Dataset, *, column: str | None, where: str) -> str:
    """Return the column of what a model is to look at, in rows that need no labels.

    Args:
        task: Says what it looks at.
        rows: A split.
        column: Its name; found by its feature when left out, or when there is none of that name.
        where: The data set, for messages.

    Raises:
        DataError: No column can be it, or several can.
    """
    if column in rows.column_names:
        return str(column)
    return _infer(task.roles[0], dict(rows.features), _first_row(rows), where)


def _infer(role: Role, features: dict[str, Any], sample: dict[str, Any], where: str) -> str:
    ranks = {column: role.rank(column, feature, sample[column]) for column, feature in features.items()}
    fitting = [rank for rank in ranks.values() if rank is not None]
    best = [column for column, rank in ranks.items() if fitting and rank == min(fitting)]
    if len(best) == 1:
        return best[0]
    example = f"data: {{columns: {{{role.name}: {best[0] if best else '<column>'}}}}}"
    if not best:
        listed = ", ".join(f"{column} ({describe_feature(feature)})" for column, feature in features.items())
        raise DataError(
            f"no column can be {role.what}; there are {listed or 'no others'}",
            where=where,
            todo=f"If one of them is, say so: {example}"
            if features
            else f"Add {role.what}; in a folder of files, put each class into a sub-folder of its own.",
        )
    listed = " or ".join(f"{column!r} ({describe_feature(features[column])})" for column in best)
    raise DataError(f"which column is {role.what}: {listed}?", where=where, todo=f"Say so: {example}")


def _first_row(train: datasets.Dataset) -> dict[str, Any]:
    """Return the first row as it is stored: nothing is decoded."""
    row: dict[str, Any] = train.with_format("arrow")[:1].to_pylist()[0]
    return row
