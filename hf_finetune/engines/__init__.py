"""The engines: two ways to train the same ingredients to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hf_finetune.registry import Registry

if TYPE_CHECKING:
    from transformers import TrainerState

    from hf_finetune.engines.ingredients import Ingredients

__all__ = ["ENGINES", "Engine"]

Engine = Callable[["Ingredients", "Path | None"], "TrainerState"]
"""Trains the ingredients, from the beginning or from a checkpoint."""

ENGINES: Registry[Engine] = Registry("engine")


@ENGINES.register("trainer")
def _fit_with_trainer(parts: Ingredients, resume_from: Path | None = None) -> TrainerState:
    from hf_finetune.engines.trainer import fit

    return fit(parts, resume_from)


@ENGINES.register("accelerate")
def _fit_with_loop(parts: Ingredients, resume_from: Path | None = None) -> TrainerState:
    from hf_finetune.engines.loop import fit

    return fit(parts, resume_from)
