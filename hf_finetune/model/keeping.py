"""The best model: written so that others can load it, and loaded again."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import transformers
from torch import nn

from hf_finetune.model.adapters import merge_adapters, prune_ranks
from hf_finetune.model.build import build_model
from hf_finetune.pretrained import refusing_pickles
from hf_finetune.recipe import Recipe
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Space

__all__ = ["load_model", "save_model"]


def save_model(model: Any, folder: Path, *, merge: bool = False) -> None:
    """Write a model as plain `from_pretrained` reads it.

    Adapters are written alone, with the name and commit of the checkpoint they belong to:
    `AutoPeftModel.from_pretrained` reads them. Merged, the folder holds a whole model.

    Args:
        model: Of transformers, or with adapters.
        folder: Where it goes.
        merge: Add adapters into the weights; the given model stays as it is.

    Raises:
        ModelError: The adapters cannot be merged.
    """
    if not isinstance(model, peft.PeftModel):
        model.save_pretrained(folder)
    elif merge:
        merge_adapters(model).save_pretrained(folder)  # type: ignore[operator]
    else:
        prune_ranks(model)
        # "auto" would ask the Hub for the base's vocabulary; a new one lies in a module that is kept whole
        model.save_pretrained(str(folder), save_embedding_layers=False)
        base: Any = model.get_base_model()
        if base.can_generate():  # how it writes was set for this run; peft 0.21 keeps only the adapters
            base.generation_config.save_pretrained(folder)


def load_model(
    folder: Path, recipe: Recipe, task: Task, labels: Space, *, trust_remote_code: bool = False
) -> nn.Module:
    """Load what `save_model` wrote to a folder: a whole model, or adapters on the recipe's checkpoint.

    Args:
        folder: For example `RUN/best`.
        recipe: Names the base of adapters; says whether a pickle may be read.
        task: Says which AutoModel class.
        labels: As the model was trained with.
        trust_remote_code: Run code that comes with the checkpoint.
    """
    auto_class = getattr(transformers, task.auto_model)
    if not (folder / "adapter_config.json").is_file():
        # None: what there is; of a pickle only tensors are read
        safe = None if recipe.may_unpickle else True
        with refusing_pickles(recipe, folder):
            whole: nn.Module = auto_class.from_pretrained(
                folder, use_safetensors=safe, trust_remote_code=trust_remote_code
            )
        return whole
    bare = recipe.model_copy(update={"model": recipe.model.model_copy(update={"peft": None, "freeze": ()})})
    base = build_model(bare, task, labels, trust_remote_code=trust_remote_code)
    with warnings.catch_warnings(), refusing_pickles(recipe, folder):
        # peft 0.21 takes AdaLoRA's saved ranks for LoRA's `rank_pattern`, and then for those of AdaLoRA
        warnings.filterwarnings("ignore", "The following rank_pattern keys", RuntimeWarning)
        # and asks transformers 5.23 by a name that was changed
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        adapted: nn.Module = peft.PeftModel.from_pretrained(base, folder)
    return adapted
