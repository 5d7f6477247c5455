"""What goes from hop to hop: everything up to the first training step, and a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import TrainerState

from hf_finetune.data import Splits
from hf_finetune.engines import Engine
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.metrics import MetricSet
from hf_finetune.recipe import Recipe
from hf_finetune.run_folder import RunFolder
from hf_finetune.tasks.base import Task

__all__ = ["Prepared", "Result"]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything up to the first training step.

    Args:
        recipe: Resolved: with every default filled in.
        task: What is special about the task.
        splits: The data, ready for the model.
        metrics: Fed by the engine; also knows which way is better.
        engine: Trains the parts.
        parts: What the engine is given.
        trust_remote_code: Whether the user lets code of the checkpoint run.
    """

    recipe: Recipe
    task: Task
    splits: Splits
    metrics: MetricSet
    engine: Engine
    parts: Ingredients
    trust_remote_code: bool


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run.

    Args:
        folder: Where everything is.
        state: Of the engine: history, best metric, best step.
        scores: What `scores.json` says.
    """

    folder: RunFolder
    state: TrainerState
    scores: dict[str, Any]
