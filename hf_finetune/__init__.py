"""Fine-tune Hugging Face checkpoints from one recipe.

Example:
    from hf_finetune import load_recipe, run
    result = run(load_recipe("recipes/quickstart.yaml"))
    print(result.scores["test"]["accuracy"])
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_finetune.errors import HfFinetuneError, UserError
    from hf_finetune.predicting import predict
    from hf_finetune.publish import push
    from hf_finetune.recipe import Recipe, load_recipe
    from hf_finetune.runner import Evaluation, Result, check, evaluate, run

__all__ = [
    "Evaluation",
    "HfFinetuneError",
    "Recipe",
    "Result",
    "UserError",
    "check",
    "evaluate",
    "load_recipe",
    "predict",
    "push",
    "run",
]

# transformers imports comet_ml, which would then patch sklearn, torch, mlflow ... and report its own errors;
# an experiment is made of what the recipe asks for
os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")
os.environ.setdefault("COMET_ERROR_TRACKING_ENABLE", "false")

# where a repository has no safetensors, transformers would ask a Space of the Hub to convert its weights and
# take what comes back, which is not what the revision of the recipe pins
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

_HOMES = {
    "Evaluation": "runner",
    "HfFinetuneError": "errors",
    "Recipe": "recipe",
    "Result": "runner",
    "UserError": "errors",
    "check": "runner",
    "evaluate": "runner",
    "load_recipe": "recipe",
    "predict": "predicting",
    "push": "publish",
    "run": "runner",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `hf-finetune --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hf_finetune' has no attribute {name!r}")
    return getattr(import_module(f"hf_finetune.{_HOMES[name]}"), name)
