"""Checkpoints of the Trainer engine: crash-proof, and read back with every weight."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from torch import nn

from hf_finetune.engines import bookkeeping, checkpoint, snapshot
from hf_finetune.engines.trainer.shared import Shared

__all__ = ["Checkpoints"]


class Checkpoints(Shared):
    """What is written, and what is read back."""

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self.progress.owed = self.progress.due = None
        self._write_checkpoint()

    def _write_checkpoint(self) -> Path:
        self.store_flos()
        self.state.stateful_callbacks = bookkeeping.export_callbacks(
            [*self.callback_handler.callbacks, self.control]
        )
        now = dataclasses.replace(
            self.progress,
            rows_per_update=bookkeeping.count_rows(self.args),
            is_stopping=self.control.should_training_stop,
            loss_sum=self._tr_loss.detach().cpu(),
            loss_total=self._total_loss_scalar,
            last_logged=self._globalstep_last_logged,
            num_skipped=self.watch.num_skipped,
            callbacks=bookkeeping.export_tensors(self.callback_handler.callbacks),
            seconds=self.progress.seconds + time.time() - self.started,
        )
        return snapshot.save(
            snapshot.Snapshot(
                parts=self.parts,
                args=self.args,
                state=self.state,
                optimizer=self.optimizer,
                scheduler=self.lr_scheduler,
                scaler=self.accelerator.scaler,
                engine_state=now.to_dict(),
            )
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        checkpoint.verify(Path(resume_from_checkpoint))
        checkpoint.load_weights(resume_from_checkpoint, self.model if model is None else model)

    def _load_best_model(self) -> None:
        bookkeeping.load_best(self.model, self.state)

    def _load_optimizer_and_scheduler(self, checkpoint_folder: str | None) -> None:
        """Read moments and schedule; settings that differ from the checkpoint's are this run's."""
        if checkpoint_folder is not None:
            checkpoint.load_optimizer(Path(checkpoint_folder), self.optimizer, self.lr_scheduler)

    def _load_rng_state(self, checkpoint_folder: str | None) -> None:
        """Do nothing: loading data draws nothing here, so the state is restored once, when training
        begins.
        """

    def _load_callback_state(self) -> None:
        """Restore every callback in place; Trainer restores none by default, and the first twice."""
        bookkeeping.restore_callbacks(self.callback_handler.callbacks, self.state.stateful_callbacks)
