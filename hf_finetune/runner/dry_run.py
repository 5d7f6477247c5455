"""`check`: all that can be wrong, found before any training step."""

from __future__ import annotations

from hf_finetune.engines.evaluation import try_one_batch
from hf_finetune.environment import list_loose_revisions
from hf_finetune.model import describe_share
from hf_finetune.recipe import Recipe
from hf_finetune.runner.hops import prepare

__all__ = ["check"]


def check(recipe: Recipe, *, trust_remote_code: bool = False) -> list[str]:
    """Find everything that can be wrong before any training step; last, one batch goes through the model.

    Returns:
        What would be trained, a line each.

    Raises:
        UserError: What is wrong.
    """
    prepared = prepare(recipe, trust_remote_code=trust_remote_code)
    parts, splits = prepared.parts, prepared.splits
    try_one_batch(parts)
    return [
        f"task     {recipe.task.name}, {splits.labels.describe()}",
        f"model    {recipe.model.checkpoint}: {describe_share(parts.model)}",
        f"data     {', '.join(f'{name} {size:,} rows' for name, size in splits.sizes.items())}",
        f"columns  {', '.join(f'{role}: {column}' for role, column in splits.columns.items())}",
        f"best by  {parts.args.metric_for_best_model}",
        *(f"pin      {key}: {commit}  (today's commit)" for key, commit in list_loose_revisions(recipe)),
    ]
