"""`training:` of a recipe -> TrainingArguments, with the defaults that differ from transformers' and why."""

from __future__ import annotations

from typing import Any

from transformers import TrainingArguments

from hf_finetune.errors import RecipeError
from hf_finetune.recipe import Recipe

__all__ = ["build_arguments", "fill_defaults"]


def fill_defaults(recipe: Recipe, *, metric: str, greater_is_better: bool) -> dict[str, Any]:
    """Return `training` with our defaults filled in; what the recipe says always wins.

    Args:
        recipe: Reads `training` and where it came from.
        metric: The first metric of the run: it decides which model is best unless the recipe says.
        greater_is_better: Of the metric that decides.
    """
    given = recipe.training
    return {
        "output_dir": f"runs/{recipe.source.stem}",
        # a run without scores, or one that keeps only its last model, is rarely what is wanted
        "eval_strategy": "epoch",
        "save_strategy": given.get("eval_strategy", "epoch"),
        "metric_for_best_model": metric,
        "greater_is_better": greater_is_better,
        # nothing leaves the machine unless the recipe says so
        "report_to": "none",
        # NaN must be seen, not replaced by the mean of the losses before it
        "logging_nan_inf_filter": False,
        # early stopping's patience is part of the state of a run
        "restore_callback_states_from_checkpoint": True,
        # the data set yields exactly what the model takes
        "remove_unused_columns": False,
        # terminal.py draws the progress
        "disable_tqdm": True,
        **_on_this_machine(),
        **given,
    }


def build_arguments(recipe: Recipe, training: dict[str, Any]) -> TrainingArguments:
    """Make the TrainingArguments.

    Raises:
        RecipeError: transformers refuses the combination.
    """
    try:
        return TrainingArguments(**training)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"training: {error}", where=recipe.where("training"), todo="Change these values."
        ) from None


def _on_this_machine() -> dict[str, Any]:
    """Pinned memory without an accelerator does nothing but warn."""
    import torch

    return {} if torch.accelerator.is_available() else {"dataloader_pin_memory": False}
