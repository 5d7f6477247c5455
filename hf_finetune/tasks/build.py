"""A recipe's `task` -> the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_finetune.tasks.base import TASKS, Task

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["build_task"]


def build_task(recipe: Recipe, *, trust_remote_code: bool = False) -> Task:
    """Return the task of a recipe.

    Args:
        recipe: Reads `task`, and `model` where one name means several kinds of model.
        trust_remote_code: Run code that comes with the checkpoint.

    Raises:
        UserError: There is no task of that name.
    """
    task_class = TASKS.get(recipe.task.name, where=recipe.where("task"))
    return task_class.for_recipe(recipe, trust_remote_code=trust_remote_code)
