"""What an engine is given. Both engines take exactly this and know nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import TrainerCallback, TrainingArguments

__all__ = ["Batch", "Filler", "Guard", "Ingredients", "Loss", "Metrics", "Reduce"]

Batch = dict[str, torch.Tensor]
"""Model inputs by name and, under "labels", the targets. Every tensor has B rows."""


class Filler(Batch):
    """A micro-batch of a process that has no row of the round: it is calculated, and counts nothing."""


class Loss(Protocol):
    """The sum of the losses of all targets in a micro-batch, over the number of targets in the window."""

    def __call__(
        self, outputs: Any, labels: torch.Tensor, *, inputs: Batch, num_items_in_batch: torch.Tensor | int
    ) -> torch.Tensor:
        """Return a scalar.

        Args:
            outputs: What the model returned for `inputs`.
            labels: The targets; -100 marks what does not count.
            inputs: The micro-batch without its labels (a CTC loss needs the attention mask).
            num_items_in_batch: Targets other than -100 in the whole window, over all processes.
        """
        ...


class Reduce(Protocol):
    """Reduce a batch's logits to what metrics and predictions need: small, B rows each, on the device."""

    def __call__(self, model: nn.Module, inputs: Batch, outputs: Any) -> Batch:
        """Return for example `{"prediction": [B], "probabilities": [B, C]}`."""
        ...


class Metrics(Protocol):
    """Metrics that are fed batch by batch, so that memory does not grow with the number of rows."""

    def update(self, reduced: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        """Take in one batch, already gathered from all processes."""
        ...

    def compute(self) -> dict[str, float]:
        """Return `{name: value}` over everything since the last call, and forget it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What to do when a loss or a gradient norm is NaN or infinite.

    Args:
        max_skips: 0 stops the run at the first one; k skips up to k such updates of a run, then stops.
    """

    max_skips: int = 0


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """All that training needs.

    Args:
        model: A `PreTrainedModel` or a `PeftModel`; trained in place.
        args: Every number of the training; `TrainingArguments` of transformers.
        train_dataset: Rows the collator takes. When it has `set_epoch(epoch)`, the engine calls it before
            each epoch's iterator is made, so that augmentation can be a function of (seed, epoch, row).
        eval_dataset: One evaluation set, or several by name (metrics are then `eval_<name>_<metric>`).
        collate: Rows -> micro-batch, with "labels".
        loss: See `Loss`; what training makes small.
        eval_loss: What evaluations measure, with the true labels; None measures the loss of training.
        reduce: See `Reduce`.
        forward: (model, inputs) -> outputs with B rows, in evaluations; None calls the model. It makes one
            row of the windows of a long clip.
        decode: Turns what `reduce` returned of a batch, gathered, and "labels" into what metrics and tables
            take, such as token numbers into text; called on the main process. None leaves them as they are.
        metrics: See `Metrics`; None evaluates the loss alone.
        processor: Saved beside the weights in every checkpoint.
        callbacks: Any `TrainerCallback`; both engines fire the same events.
        guard: What to do about NaN and infinity.
        stamp: JSON-able facts of the run (recipe, data fingerprint ...) saved in every checkpoint, compared
            on resume by whoever starts the engine.
    """

    model: nn.Module
    args: TrainingArguments
    train_dataset: Dataset[Any] | IterableDataset[Any] | None
    eval_dataset: Dataset[Any] | Mapping[str, Dataset[Any]] | None
    collate: Callable[[list[Any]], Batch]
    loss: Loss
    reduce: Reduce
    eval_loss: Loss | None = None
    decode: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    forward: Callable[[nn.Module, Batch], Any] | None = None
    metrics: Metrics | None = None
    processor: Any = None
    callbacks: Sequence[TrainerCallback] = ()
    guard: Guard = field(default_factory=Guard)
    stamp: Mapping[str, Any] = field(default_factory=dict)
