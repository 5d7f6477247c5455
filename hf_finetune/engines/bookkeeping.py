"""What both engines keep account of in the same way: position, callbacks' states, the best score."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_finetune.engines import checkpoint
from hf_finetune.engines.randomness import read_state, write_state
from hf_finetune.engines.watch import Abandoned
from hf_finetune.errors import CheckpointError, UserError
from hf_finetune.optim import set_mode

__all__ = [
    "Plan",
    "Progress",
    "evaluating",
    "export_callbacks",
    "export_tensors",
    "load_best",
    "restore_callbacks",
    "restore_tensors",
    "score_of",
    "settle_arguments",
    "take_if_best",
]

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands beyond what `TrainerState` knows; saved with every checkpoint, by every process.

    Args:
        epoch: The epoch in progress, or the one just finished.
        num_updates: Done in that epoch.
        rows_per_update: Rows of one update over all processes; 0 in a plain `Trainer`'s checkpoint.
        is_epoch_open: Whether the end of that epoch (its log, evaluation and save) is still to come.
        is_stopping: Whether the run had decided to end (early stopping, last update).
        owed: "step" or "epoch" when the log, evaluation and save in `due` were put off to save quickly.
        due: `{"should_log": bool, ...}` of what is owed.
        loss_sum: This process' loss since the last log, shape [], float32.
        loss_total: The losses logged so far, summed.
        last_logged: The update of the last log.
        grad_norm: Of the last update.
        learning_rate: Of the last update.
        num_skipped: Updates the guard has skipped.
        seconds: Training time before this session.
        callbacks: What callbacks with a `state_dict` keep, see `export_tensors`.
    """

    epoch: int = 0
    num_updates: int = 0
    rows_per_update: int = 0
    is_epoch_open: bool = True
    is_stopping: bool = False
    owed: str | None = None
    due: dict[str, bool] | None = None
    loss_sum: torch.Tensor | None = None
    loss_total: float = 0.0
    last_logged: int = 0
    grad_norm: float | None = None
    learning_rate: float | None = None
    num_skipped: int = 0
    seconds: float = 0.0
    callbacks: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and tensors, for `torch.save`."""
        return asdict(self)

    @classmethod
    def read(
        cls, folder: Path, state: TrainerState, updates_per_epoch: int, args: TrainingArguments
    ) -> Progress:
        """Find the position of a checkpoint; a plain `Trainer`'s by its own arithmetic.

        Raises:
            CheckpointError: An update had another number of rows, so no position in the epoch would be right.
        """
        saved = checkpoint.load_engine_state(folder, args)
        if saved is None:
            epoch, num_updates = divmod(state.global_step, updates_per_epoch)
            num_updates = 0 if args.ignore_data_skip else num_updates
            return cls(epoch=epoch, num_updates=num_updates, last_logged=state.global_step)
        known = {one.name for one in fields(cls)}
        progress = cls(**{name: value for name, value in saved.items() if name in known})
        if progress.rows_per_update != count_rows(args):
            raise CheckpointError(
                f"an update had {progress.rows_per_update} rows and now has {count_rows(args)} (batch size x "
                "accumulation x processes)",
                where=str(folder),
                todo="Keep the product the same, or start anew from these weights (model.checkpoint).",
            )
        if args.ignore_data_skip and progress.num_updates < updates_per_epoch:
            progress.num_updates = 0
        return progress


@dataclass(frozen=True)
class Plan:
    """How many of everything.

    Args:
        num_micro_batches: In an epoch, on each process.
        updates_per_epoch: The last may be of a short window.
        num_epochs: The last may be a part of one.
        num_updates: In the whole run.
        num_samples: Rows seen in the whole run, for the throughput.
    """

    num_micro_batches: int
    updates_per_epoch: int
    num_epochs: int
    num_updates: int
    num_samples: float

    @classmethod
    def of(cls, args: TrainingArguments, loader: Any) -> Plan:
        """Plan a run.

        Args:
            args: Reads `max_steps`, `num_train_epochs` and `gradient_accumulation_steps`.
            loader: One process' loader of training micro-batches.

        Source: transformers 5.23, `Trainer.set_initial_training_values`.
        """
        per_epoch = max(math.ceil(len(loader) / args.gradient_accumulation_steps), 1)
        if args.max_steps > 0:
            num_epochs = math.ceil(args.max_steps / per_epoch)
            return cls(len(loader), per_epoch, num_epochs, args.max_steps, args.max_steps * count_rows(args))
        num_updates = math.ceil(args.num_train_epochs * per_epoch)
        num_samples = len(loader.dataset) * args.num_train_epochs
        return cls(len(loader), per_epoch, math.ceil(args.num_train_epochs), num_updates, num_samples)


def count_rows(args: TrainingArguments) -> int:
    """Return the rows of one update, over all processes."""
    return int(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)


def settle_arguments(args: TrainingArguments) -> TrainingArguments:
    """Return a copy of the arguments in which what would hide a loss or break a model is switched off."""
    settled = copy.copy(args)
    settled.logging_nan_inf_filter = False
    if settled.n_gpu > 1:  # one process trains on one GPU; Trainer would wrap the model in DataParallel
        settled._n_gpu = 1
    if settled.ddp_find_unused_parameters is None and settled.activation_checkpointing:
        # Trainer's own rule, but for adapters, too: there it searches, and DDP meets a parameter twice
        settled.ddp_find_unused_parameters = False
    return settled


def export_callbacks(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return the states of the callbacks that have one: by class name, a list where a class comes twice."""
    found: dict[str, list[Any]] = {}
    for callback in callbacks:
        if isinstance(callback, ExportableState):
            found.setdefault(type(callback).__name__, []).append(callback.state())
    return {name: states if len(states) > 1 else states[0] for name, states in found.items()}


def restore_callbacks(callbacks: Iterable[Any], saved: dict[str, Any]) -> None:
    """Give every callback its saved state back, in place, the n-th of a class the n-th state.

    What a callback counts is restored; what it was made with (`args` in its state) is the new run's. A
    callback that was not there before starts afresh.
    """
    left = {name: list(states) if isinstance(states, list) else [states] for name, states in saved.items()}
    for callback in callbacks:
        states = left.get(type(callback).__name__)
        if isinstance(callback, ExportableState) and states:
            for name, value in states.pop(0).get("attributes", {}).items():
                setattr(callback, name, value)


def export_tensors(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Return what callbacks keep that is no JSON: those with `state_dict` and `load_state_dict`, by class."""
    return {
        type(callback).__name__: callback.state_dict()
        for callback in callbacks
        if hasattr(callback, "load_state_dict")
    }


def restore_tensors(callbacks: Iterable[Any], saved: dict[str, Any]) -> None:
    """Give callbacks back what `export_tensors` took from them."""
    for callback in callbacks:
        if hasattr(callback, "load_state_dict") and type(callback).__name__ in saved:
            callback.load_state_dict(saved[type(callback).__name__])


@contextmanager
def evaluating(state: TrainerState, optimizer: Any, args: TrainingArguments) -> Iterator[None]:
    """Put the optimizer aside for an evaluation; one that is abandoned leaves no trace.

    What it has logged and drawn is taken back: the checkpoint that follows is that of the last update, and
    the run that goes on from it evaluates as if for the first time.
    """
    num_logged, drawn = len(state.log_history), read_state(all_gpus=args.world_size > 1)
    set_mode(optimizer, training=False)
    try:
        yield
    except Abandoned:
        del state.log_history[num_logged:]
        write_state(drawn)
        raise
    finally:
        set_mode(optimizer, training=True)


def load_best(model: nn.Module, state: TrainerState) -> None:
    """Put the best checkpoint's weights into the model; without one, say that the last ones stay.

    Raises:
        CheckpointError: It was damaged since it was written.
    """
    if state.best_model_checkpoint is None:
        logger.warning("no checkpoint has a finite best score: the last weights are kept")
    else:
        checkpoint.verify(Path(state.best_model_checkpoint))
        checkpoint.load_weights(state.best_model_checkpoint, model)


def score_of(scores: dict[str, float], args: TrainingArguments) -> float:
    """Return the score that `metric_for_best_model` names.

    Raises:
        UserError: No evaluation set has such a score.
    """
    name = str(args.metric_for_best_model)
    name = name if name.startswith("eval_") else f"eval_{name}"
    if name not in scores:
        known = ", ".join(sorted(scores))
        raise UserError(
            f"metric_for_best_model={args.metric_for_best_model!r} is not among the scores",
            todo=f"Use one of: {known}",
        )
    return scores[name]


def _spell(score: float) -> str:
    return "NaN" if math.isnan(score) else "infinite"


def take_if_best(scores: dict[str, float], state: TrainerState, args: TrainingArguments) -> bool:
    """Remember the score if it is the best so far, and return whether it is; NaN and infinity never are."""
    if args.metric_for_best_model is None:
        return False
    score = score_of(scores, args)
    if not math.isfinite(score):
        name, step = args.metric_for_best_model, state.global_step
        logger.warning("%s is %s at update %d: not a best model", name, _spell(score), step)
        return False
    if state.best_metric is not None:
        is_better = score > state.best_metric if args.greater_is_better else score < state.best_metric
        if not is_better:
            return False
    state.best_metric = score
    if str(getattr(args.save_strategy, "value", args.save_strategy)) != "no":
        state.best_global_step = state.global_step
    return True
