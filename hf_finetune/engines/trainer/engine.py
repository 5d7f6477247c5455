"""The Trainer engine put together: what it is made of, how it starts and how it ends."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from hf_finetune.engines import bookkeeping, checkpoint, devices
from hf_finetune.engines.arguments import require_arguments
from hf_finetune.engines.bookkeeping import Progress
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.trainer.checkpoints import Checkpoints
from hf_finetune.engines.trainer.position import Position
from hf_finetune.engines.trainer.scores import Scores
from hf_finetune.engines.trainer.updates import Updates
from hf_finetune.engines.watch import Abandoned, Watch

__all__ = ["Engine", "fit"]


def fit(parts: Ingredients, resume_from: Path | None = None) -> TrainerState:
    """Train `parts.model` in place with `transformers.Trainer`.

    Args:
        parts: What to train, on what, how.
        resume_from: A `checkpoint-<step>` folder of either engine or of a plain `Trainer`.

    Returns:
        The final state: log history, best score and its checkpoint.

    Raises:
        UserError: The arguments ask for what this engine does not do.
        NonFiniteError: A loss or gradient norm became NaN or infinite.
        Interrupted: SIGTERM or Ctrl-C; a checkpoint was written.
        CheckpointError: `resume_from` is damaged or of another model.
        RunFolderError: The disk is full.
    """
    require_arguments(parts.args, "trainer", has_eval_set=parts.eval_dataset is not None)

    def attempt(args: TrainingArguments) -> TrainerState:
        engine = Engine(parts, args, resume_from)
        with engine.watch:
            with suppress(Abandoned):  # in the evaluation before the first update
                engine.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
            engine.watch.stop_if_asked()
        return engine.state

    args = bookkeeping.settle_arguments(parts.args)
    return devices.search_batch_size(attempt, parts.model, args, resume_from)


class Engine(Updates, Position, Scores, Checkpoints):
    """`Trainer` of transformers with our ingredients; each base overrides one part of it.

    Args:
        parts: What to train.
        args: The settled arguments.
        resume_from: The checkpoint to go on from.
    """

    def __init__(self, parts: Ingredients, args: TrainingArguments, resume_from: Path | None) -> None:
        self.parts, self.resume_from = parts, resume_from
        self.progress = Progress()
        self.resumed = None
        self.losses = []
        self.num_micro_batches = 0
        self.num_parameters = devices.count_parameters(parts.model)
        self.started = time.time()
        devices.let_gradients_pass(parts.model, args)
        super().__init__(
            model=parts.model,
            args=args,
            data_collator=parts.collate,
            train_dataset=parts.train_dataset,
            eval_dataset=parts.eval_dataset,
            processing_class=parts.processor,
            callbacks=list(parts.callbacks),
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_Hooks(self))
        self.watch = Watch(parts.guard, self.args, self.rows_of)

    def rows_of(self, number: int) -> tuple[int, ...]:
        """Return the training rows of a micro-batch of this epoch on this process."""
        rows: tuple[int, ...] = self.train_loader.tickets.rows_of(self.progress.epoch, number)
        return rows


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """What the engine does at events; the last of the callbacks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        engine, progress = self.engine, self.engine.progress
        engine.started = time.time()
        if engine.resumed is None or engine.resume_from is None:
            return
        engine.watch.num_skipped = progress.num_skipped
        if progress.loss_sum is not None:  # a plain Trainer's checkpoint knows only its own session
            engine._tr_loss += progress.loss_sum.to(engine._tr_loss.device)
            engine._total_loss_scalar = progress.loss_total
            engine._globalstep_last_logged = progress.last_logged
            engine._initial_global_step = 0
        bookkeeping.restore_tensors(engine.callback_handler.callbacks, progress.callbacks)
        checkpoint.restore_rng(engine.resume_from, engine.args)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.engine.progress.is_epoch_open = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.engine.progress.is_epoch_open = False
