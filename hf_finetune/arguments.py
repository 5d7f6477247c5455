"""`training:` of a recipe -> TrainingArguments, with the defaults that differ from transformers' and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import TrainingArguments

from hf_finetune.errors import RecipeError
from hf_finetune.formatting import first_words
from hf_finetune.metrics import MetricSet
from hf_finetune.recipe import Recipe, own_defaults
from hf_finetune.run_folder import output_folder
from hf_finetune.secrecy import hide_in

__all__ = ["build_arguments", "choose_best_by", "fill_defaults"]

LABELS = {"project", "run_name", "trackio_bucket_id", "trackio_space_id"}
"""What nothing is computed from: trackers show them, and every checkpoint holds them in a pickle."""


def fill_defaults(recipe: Recipe, task_defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return `training` with our defaults filled in; what the recipe says always wins.

    Args:
        recipe: Reads `training` and the recipe's name.
        task_defaults: Those of the task.
    """
    # pinned memory without an accelerator does nothing but warn
    pin_memory = {} if torch.accelerator.is_available() else {"dataloader_pin_memory": False}
    return {
        "output_dir": output_folder(recipe),
        **own_defaults(recipe.training),
        # the best and the last; transformers keeps all, until the disk is full
        "save_total_limit": 2,
        # nothing leaves the machine unless the recipe says so
        "report_to": "none",
        # a NaN must be seen, not replaced by the mean of the losses before it
        "logging_nan_inf_filter": False,
        # early stopping's patience is part of the state of a run
        "restore_callback_states_from_checkpoint": True,
        # terminal.py draws the progress
        "disable_tqdm": True,
        **pin_memory,
        **(task_defaults or {}),
        **recipe.training,
        # the data set yields exactly what the model takes, and an augmentation needs what Trainer would drop
        "remove_unused_columns": False,
    }


def build_arguments(
    recipe: Recipe, training: dict[str, Any], class_name: str = "TrainingArguments"
) -> TrainingArguments:
    """Make the TrainingArguments.

    Args:
        recipe: For places in messages.
        training: With defaults.
        class_name: Of transformers, as the task wants it.

    Raises:
        RecipeError: A value is for tasks that write text, or transformers refuses the combination.
    """
    arguments = getattr(transformers, class_name)
    for name in training:
        if name not in arguments.__dataclass_fields__:  # unknown keys were found when the recipe was read
            raise RecipeError(
                f"training.{name} is for tasks whose model writes text; {recipe.task.name} has none here",
                where=recipe.where(f"training.{name}"),
                todo="Remove it.",
            )
    try:
        labels = hide_in({key: training[key] for key in LABELS & training.keys()})
        made: TrainingArguments = arguments(**{**training, **labels})
        return made
    # a package it needs is not there, a file it names is not there
    except (TypeError, ValueError, ImportError, OSError, NotImplementedError) as error:
        raise RecipeError(
            f"training: {first_words(error)}", where=recipe.where("training"), todo="Change these values."
        ) from None


def choose_best_by(metrics: MetricSet, recipe: Recipe, args: TrainingArguments) -> dict[str, Any]:
    """Let the first metric decide which model is best, and the metric itself which way is better.

    Args:
        metrics: In the recipe's order.
        recipe: Reads `training`.
        args: Changed in place.

    Returns:
        What is to be written into the resolved recipe's `training`.

    Raises:
        RecipeError: The recipe says the contrary of the metric, and would keep the worst model as the best.
    """
    if args.eval_strategy == "no":
        return {}
    name = recipe.training.get("metric_for_best_model") or next(iter(metrics.names), "loss")
    args.metric_for_best_model = name
    told = recipe.training.get("greater_is_better")
    own = metrics.greater_is_better(name, told=told, where=recipe.where("training.metric_for_best_model"))
    if told is not None and told != own:
        better = "greater" if own else "less"
        raise RecipeError(
            f"training.greater_is_better: {str(told).lower()} would keep the worst model: "
            f"{name} is better when it is {better}",
            where=recipe.where("training.greater_is_better"),
            todo="Remove greater_is_better: the metric knows it.",
        )
    args.greater_is_better = own if told is None else told
    return {"metric_for_best_model": name, "greater_is_better": args.greater_is_better}
