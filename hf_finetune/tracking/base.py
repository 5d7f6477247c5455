"""What a tracker is: a callback while training, results at the end, and a place to look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from hf_finetune.recipe import Recipe
from hf_finetune.run_folder import RunFolder

__all__ = ["Session", "Tracker", "flatten_numbers"]


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a tracker is told when it starts. A run that is resumed has several sessions, and one experiment.

    Args:
        recipe: Resolved.
        args: Of the training.
        folder: The run folder.
        name: What the run is called where the recipe gives no name.
        memory: What this tracker remembers of the run's earlier sessions, JSON-able; it may change it.
    """

    recipe: Recipe
    args: TrainingArguments
    folder: RunFolder
    name: str
    memory: dict[str, Any] = field(default_factory=dict)

    def own_folder(self, name: str) -> Path:
        """Return the folder of one tracker in the run folder, and make it."""
        folder = self.folder.tracking / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Tracker(ABC):
    """One experiment of one run; only the first process has trackers.

    Attributes:
        callback: Hears what both engines say while they train.
    """

    callback: TrainerCallback

    @abstractmethod
    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Keep what a finished run has found.

        Args:
            folder: With the best model, the predictions and the report.
            scores: What `scores.json` says.
        """

    @abstractmethod
    def close(self, error: BaseException | None) -> None:
        """Write or send what is left; nothing is taken in after that.

        Args:
            error: What ended the run early, if anything did.
        """

    @abstractmethod
    def place(self) -> str:
        """Say where the experiment is, and what to do to see it."""


def flatten_numbers(scores: Mapping[str, Any], *, prefix: str = "scores/") -> dict[str, float]:
    """Return the numbers of `scores.json` by their path in it.

    Example:
        >>> flatten_numbers({"test": {"f1": 0.5}, "best": {"metric": "f1", "step": 8}, "details": {"x": 1}})
        {'scores/test/f1': 0.5, 'scores/best/step': 8}
    """
    flat: dict[str, float] = {}
    for key, value in scores.items():
        if isinstance(value, Mapping) and key != "details":
            flat |= flatten_numbers(value, prefix=f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = value
    return flat
