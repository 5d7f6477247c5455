"""`check`: all that can be wrong, found before any training step."""

from __future__ import annotations

import copy
from pathlib import Path

from hf_finetune.engines.evaluation import try_one_batch
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.padding import measure_padding
from hf_finetune.environment import list_loose_revisions
from hf_finetune.formatting import count_classes
from hf_finetune.model import describe_share
from hf_finetune.recipe import Recipe
from hf_finetune.run_folder import RunFolder, output_folder
from hf_finetune.runner.hops import prepare
from hf_finetune.tracking import list_trackers

__all__ = ["check"]


def check(recipe: Recipe, *, trust_remote_code: bool = False, allow_pickle: bool = False) -> list[str]:
    """Find everything that can be wrong before any training step; last, one batch goes through the model.

    Args:
        recipe: As `load_recipe` returns it.
        trust_remote_code: Run code that comes with the checkpoint or the data set.
        allow_pickle: Read weights from a pickle where there are no safetensors; tensors only.

    Returns:
        What would be trained, a line each.

    Raises:
        UserError: What is wrong.
    """
    recipe = recipe.allow_pickle() if allow_pickle else recipe
    prepared = prepare(recipe, trust_remote_code=trust_remote_code, warn=False)
    parts, splits = prepared.parts, prepared.splits
    try_one_batch(parts)
    trackers = list_trackers(recipe)
    folder = RunFolder(Path(output_folder(recipe)))
    return [
        f"task     {recipe.task.name}, {splits.labels.describe()}",
        f"model    {recipe.model.checkpoint}: {describe_share(parts.model)}",
        f"data     {', '.join(f'{name} {size:,} rows' for name, size in splits.sizes.items())}",
        *([f"labels   {count_classes(splits.labels.names)}"] if splits.labels.names else []),
        *_tell_padding(parts),
        f"columns  {', '.join(f'{role}: {column}' for role, column in splits.columns.items())}",
        f"best by  {parts.args.metric_for_best_model}",
        *(
            [f"folder   {folder.path}: a run is in it: add --resume or --overwrite"]
            if folder.has_run()
            else []
        ),
        *([f"tracking {', '.join(trackers)}"] if trackers else []),
        *(f"warning  {warning}" for warning in splits.warnings),
        *(f"pin      {key}: {commit}  (today's commit)" for key, commit in list_loose_revisions(recipe)),
    ]


def _tell_padding(parts: Ingredients) -> list[str]:
    """Say how much of the batches is padding, and how much it would be with rows of one length together."""
    share, args = measure_padding(parts, parts.args), parts.args
    if share is None:
        return []
    line = f"padding  {share:.1%} of the inputs"
    grouped = copy.copy(args)
    grouped.train_sampling_strategy = "group_by_length"
    better = measure_padding(parts, grouped)
    if args.train_sampling_strategy == "random" and better is not None and better < 0.9 * share:
        line += f"; {better:.1%} with training.train_sampling_strategy: group_by_length"
    return [line]
