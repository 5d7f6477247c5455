"""Where a run of the Trainer engine stands: resumed anywhere, stopped after any update."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any, NoReturn

import torch

from hf_finetune import optim
from hf_finetune.engines import checkpoint
from hf_finetune.engines.bookkeeping import Progress
from hf_finetune.engines.trainer.shared import Shared
from hf_finetune.engines.watch import Abandoned
from hf_finetune.errors import Interrupted

__all__ = ["Position"]


class Position(Shared):
    """The place in the epochs, and what is due or owed there."""

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, resume: Any, trial: Any
    ) -> tuple[int, int]:
        position: tuple[int, int] = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume, trial
        )
        if resume is None:
            return position
        saved = checkpoint.load_state(Path(resume))
        for name in ("best_model_checkpoint", "best_metric", "best_global_step"):
            setattr(self.state, name, getattr(saved, name))
        self.state.compute_steps(self.args, max_steps)  # Trainer goes on with the checkpoint's steps
        progress = Progress.read(Path(resume), saved, num_update_steps_per_epoch, self.args)
        progress.is_stopping &= saved.max_steps == max_steps
        self.progress, self.resumed = progress, dataclasses.replace(progress)
        num_skipped = progress.num_updates * self.args.gradient_accumulation_steps
        self.num_micro_batches = num_skipped
        # an epoch whose end is still owed is entered again; _run_epoch sees that nothing of it is left
        is_entered = progress.is_epoch_open or progress.owed == "epoch"
        return progress.epoch + (not is_entered), num_skipped if progress.is_epoch_open else 0

    def _run_epoch(self, **run: Any) -> None:
        run["model"].train()
        optim.set_mode(self.optimizer, training=True)
        resumed, self.resumed = self.resumed, None
        if resumed is not None and self._settle(resumed, run):
            return
        if run["epoch"] != self.progress.epoch:
            self.progress.epoch, self.progress.num_updates, self.num_micro_batches = run["epoch"], 0, 0
        super()._run_epoch(**run)

    def _settle(self, resumed: Progress, run: dict[str, Any]) -> bool:
        """Do what a checkpoint still owed; return whether that was the end of its epoch."""
        arguments = {
            "tr_loss": self._tr_loss,
            "grad_norm": None,
            **{name: run[name] for name in ("model", "trial", "epoch", "ignore_keys_for_eval", "start_time")},
        }
        if resumed.owed is not None:
            self.progress.is_epoch_open = resumed.owed == "step"
            for name, value in (resumed.due or {}).items():
                setattr(self.control, name, value)
            self.control.should_training_stop |= resumed.is_stopping
            self._maybe_log_save_evaluate(**arguments)
        is_stopping = resumed.is_stopping or self.control.should_training_stop
        if not resumed.is_epoch_open:
            self.control.should_training_stop |= is_stopping and resumed.owed == "epoch"
            return resumed.owed == "epoch"
        is_done = resumed.num_updates >= run["num_update_steps_per_epoch"] or self.control.should_epoch_stop
        if not (is_done or is_stopping or self.state.global_step >= self.state.max_steps):
            return False
        self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
        self._maybe_log_save_evaluate(**arguments)
        self.control.should_training_stop |= is_stopping
        return True

    def _maybe_log_save_evaluate(
        self,
        tr_loss: torch.Tensor,
        grad_norm: Any,
        *others: Any,
        learning_rate: float | None = None,
        **named: Any,
    ) -> None:
        progress = self.progress
        if grad_norm is None:  # an epoch resumed at its end: as the last update had it
            grad_norm, learning_rate = progress.grad_norm, progress.learning_rate
        progress.grad_norm = None if grad_norm is None else float(grad_norm)
        progress.learning_rate = learning_rate
        if self.watch.signum is not None:
            self._stop_here()
        is_logging = self.control.should_log
        try:
            super()._maybe_log_save_evaluate(
                tr_loss, grad_norm, *others, learning_rate=learning_rate, **named
            )
        except Abandoned:
            self._empty(tr_loss, is_logging)
            self._stop_here()
        self._empty(tr_loss, is_logging)

    def _empty(self, tr_loss: torch.Tensor, is_logging: bool) -> None:
        if is_logging:
            tr_loss.zero_()  # Trainer subtracts the sum from itself, and NaN - NaN is NaN

    def _stop_here(self) -> NoReturn:
        """Save at once what is there; its log, evaluation and save come first when the run goes on."""
        progress, control = self.progress, self.control
        progress.owed = "step" if progress.is_epoch_open else "epoch"
        progress.due = {
            name: getattr(control, name) for name in ("should_log", "should_evaluate", "should_save")
        }
        folder = self._write_checkpoint()
        self.callback_handler.on_train_end(self.args, self.state, control)
        raise Interrupted(self.watch.signum or signal.SIGTERM, str(folder))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; the training time of earlier sessions is part of the run."""
        super().log(logs, None if start_time is None else start_time - self.progress.seconds)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        """Log the whole run and put the best weights back, but delete no checkpoint: see `rotate`."""
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is None:
            self._load_best_model()  # which says that there is none
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(trial, num_train_samples, start_time - self.progress.seconds)
        finally:
            self.args.save_total_limit = limit
