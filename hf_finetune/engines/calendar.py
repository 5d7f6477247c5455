"""The calendar of the loop: what has happened, who hears of it, and the three things that can be due.

`Trainer` has the same in `_maybe_log_save_evaluate` and around it. A callback of transformers hears the same
events in the same order from both.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import gather
from transformers import (
    DefaultFlowCallback,
    ProgressCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer_callback import CallbackHandler
from transformers.trainer_utils import speed_metrics

from hf_finetune.engines import bookkeeping, checkpoint, devices, snapshot
from hf_finetune.engines.bookkeeping import Plan, Progress
from hf_finetune.engines.evaluation import evaluate, name_eval_sets
from hf_finetune.engines.ingredients import Batch, Ingredients
from hf_finetune.engines.loaders import MicroBatchLoader
from hf_finetune.engines.watch import Abandoned, Watch
from hf_finetune.errors import Interrupted
from hf_finetune.optim import current_rate, is_metric_driven

__all__ = ["Calendar"]

DUE = ("should_log", "should_evaluate", "should_save")


class Calendar:
    """Keeps `state`, `control` and `progress` of one run.

    Args:
        parts: Model, data sets, metrics, callbacks.
        args: The settled arguments.
        plan: How many of everything.
        accelerator: For the loss scaler, where there is one.
        optimizer: Saved with every checkpoint.
        scheduler: Saved with every checkpoint; stepped here when it goes by a score.
        loader: Knows the rows of a micro-batch.
    """

    def __init__(
        self,
        parts: Ingredients,
        args: TrainingArguments,
        plan: Plan,
        accelerator: Accelerator,
        optimizer: Any,
        scheduler: Any,
        loader: MicroBatchLoader,
    ) -> None:
        self.parts, self.args, self.plan, self.scaler = parts, args, plan, accelerator.scaler
        self.optimizer, self.scheduler, self.loader = optimizer, scheduler, loader
        self.progress, self.control, self.started = Progress(), TrainerControl(), time.time()
        self.num_parameters, self.flos = devices.count_parameters(parts.model), 0.0
        self.watch = Watch(parts.guard, args, self._rows_of)
        reporting = get_reporting_integration_callbacks(args.report_to)
        progress_bar = [] if args.disable_tqdm else [ProgressCallback]
        callbacks = [DefaultFlowCallback, *reporting, *parts.callbacks, *progress_bar]
        self.events = CallbackHandler(callbacks, parts.model, parts.processor, optimizer, scheduler)
        self.events.train_dataloader = loader

    # ---- before and after ----------------------------------------------------------------------------------

    def begin(self, resume_from: Path | None) -> tuple[TrainerState, Progress]:
        """Start the clock, or set it to where a checkpoint stands."""
        args, plan = self.args, self.plan
        state = self.state = TrainerState()
        self._mark_process()
        self.fire("init_end")
        if resume_from is not None:
            state = self.state = checkpoint.load_state(resume_from)
        planned_before, self.num_tokens_before = state.max_steps, state.num_input_tokens_seen
        state.train_batch_size = args.train_batch_size
        state.compute_steps(args, plan.num_updates)
        state.max_steps, state.num_train_epochs = plan.num_updates, plan.num_epochs
        self._mark_process()
        self.loss_sum = torch.zeros((), device=args.device)
        if resume_from is not None:
            self.progress = Progress.read(resume_from, state, plan.updates_per_epoch, args)
            self.progress.is_stopping &= planned_before == plan.num_updates
            self.watch.num_skipped = self.progress.num_skipped
            if self.progress.loss_sum is not None:
                self.loss_sum += self.progress.loss_sum.to(args.device)
            bookkeeping.restore_callbacks(self.events.callbacks, state.stateful_callbacks)
        self.first_update = 0 if self.progress.loss_sum is not None else state.global_step
        self.fire("train_begin")
        if resume_from is not None:
            bookkeeping.restore_tensors(self.events.callbacks, self.progress.callbacks)
            checkpoint.restore_rng(resume_from, args)
        elif args.eval_on_start:
            self._evaluate()
        return state, self.progress

    def _mark_process(self) -> None:
        self.state.is_world_process_zero = self.args.process_index == 0
        self.state.is_local_process_zero = self.args.local_process_index == 0

    def epochs_left(self) -> Iterator[int]:
        """Do what a checkpoint still owed, then yield the epochs up to the end or until something stops."""
        progress = self.progress
        self._settle()
        for epoch in range(progress.epoch, self.plan.num_epochs):
            if self.control.should_training_stop:
                return
            progress.epoch, progress.is_epoch_open = epoch, True
            yield epoch
            progress.num_updates = 0

    def _settle(self) -> None:
        progress = self.progress
        is_stopping = progress.is_stopping
        if progress.owed is not None:
            progress.is_epoch_open = progress.owed == "step"
            for name, value in (progress.due or {}).items():
                setattr(self.control, name, value)
            self.control.should_training_stop |= is_stopping
            progress.owed = progress.due = None
            self.do_what_is_due(progress.grad_norm, progress.learning_rate)
            is_stopping |= self.control.should_training_stop
        is_done = progress.num_updates >= self.plan.updates_per_epoch or self.control.should_epoch_stop
        is_done |= self.state.global_step >= self.state.max_steps
        if progress.is_epoch_open and (is_done or is_stopping):
            self.end_epoch()
            self.control.should_training_stop |= is_stopping
        if not progress.is_epoch_open:
            progress.epoch, progress.num_updates = progress.epoch + 1, 0

    def end_epoch(self) -> None:
        """Tell the callbacks that an epoch is over, and do what that makes due."""
        self.progress.is_epoch_open = False
        self.fire("epoch_end")
        self.do_what_is_due(self.progress.grad_norm, self.progress.learning_rate)

    def finish(self) -> None:
        """Log the whole run, put the best weights back, tell the callbacks.

        Raises:
            Interrupted: A signal came after the last update.
        """
        args, state = self.args, self.state
        num_updates = state.global_step - self.first_update
        loss_total = self.progress.loss_total + self.loss_sum.item()
        num_samples = self.plan.num_samples * num_updates / max(state.max_steps, 1)
        started = self.started - self.progress.seconds
        logs = speed_metrics("train", started, num_samples=num_samples, num_steps=num_updates)
        self._store_flos()
        logs |= {"total_flos": state.total_flos, "train_loss": loss_total / max(num_updates, 0.001)}
        self._log(logs)
        if args.load_best_model_at_end:
            bookkeeping.load_best(self.parts.model, state)
        self.fire("train_end")
        self.watch.stop_if_asked()

    # ---- during training -----------------------------------------------------------------------------------

    def fire(self, event: str, *extra: Any) -> None:
        """Tell all callbacks; they answer through `control`."""
        self.control = getattr(self.events, f"on_{event}")(self.args, self.state, self.control, *extra)

    def count(self, batch: Batch, loss: torch.Tensor) -> None:
        """Add a micro-batch to the running loss, the operations and the tokens."""
        self.loss_sum += loss
        self.flos += float(devices.count_operations(batch, self.parts.model, self.num_parameters))
        self.state.num_input_tokens_seen += devices.count_input_tokens(
            batch, self.parts.model, self.parts.processor, self.args
        )
        devices.empty_cache(self.state, self.args)

    def should_skip(self, losses: Sequence[torch.Tensor], grad_norm: float) -> bool:
        """Ask the guard about an update; see `Watch.should_skip`."""
        first = self.progress.num_updates * self.args.gradient_accumulation_steps
        update, rate = self.state.global_step + 1, current_rate(self.scheduler)
        return self.watch.should_skip(update, losses, grad_norm, rate, first, check_norm=self.scaler is None)

    def do_what_is_due(self, grad_norm: float | None, learning_rate: float | None) -> None:
        """Log, then evaluate, then save: a checkpoint must contain the score that earned it.

        Raises:
            Interrupted: A signal asked to stop; the checkpoint says what is still owed.
        """
        progress, state, control = self.progress, self.state, self.control
        progress.grad_norm, progress.learning_rate = grad_norm, learning_rate
        if self.watch.signum is not None:
            self._stop_here()
        if control.should_log and state.global_step > progress.last_logged:
            loss = gather(self.loss_sum).mean().item()
            self.loss_sum.zero_()
            logs: dict[str, Any] = {"loss": loss / (state.global_step - progress.last_logged)}
            if grad_norm is not None:
                logs["grad_norm"] = grad_norm
            logs["learning_rate"] = current_rate(self.scheduler) if learning_rate is None else learning_rate
            progress.loss_total += loss
            progress.last_logged = state.global_step
            self._store_flos()
            self._log(logs, is_training=True)
        if self.control.should_evaluate:
            try:
                scores = self._evaluate()
            except Abandoned:
                self._stop_here()
            if is_metric_driven(self.scheduler):
                self.scheduler.step(bookkeeping.score_of(scores, self.args))
            is_best = bookkeeping.take_if_best(scores, state, self.args)
            if self.args.save_strategy == "best":
                self.control.should_save = is_best
        if self.control.should_save:
            self._save()
            self.fire("save")

    def _log(self, logs: dict[str, Any], *, is_training: bool = False) -> None:
        state, args = self.state, self.args
        logs["epoch"] = state.epoch
        if args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = state.num_input_tokens_seen
            if is_training:
                num_tokens = state.num_input_tokens_seen - self.num_tokens_before
                logs |= speed_metrics("train", self.started, num_tokens=num_tokens)
        state.log_history.append({**logs, "step": state.global_step})
        self.fire("log", logs)

    def _evaluate(self) -> dict[str, float]:
        scores: dict[str, float] = {}
        with bookkeeping.evaluating(self.state, self.optimizer, self.args):
            for prefix, dataset in name_eval_sets(self.parts.eval_dataset, "eval").items():
                found = evaluate(self.parts, dataset, prefix=prefix, on_step=self._on_prediction_step)
                scores |= found
                self._log(found)
        self.fire("evaluate", scores)
        return scores

    def _on_prediction_step(self, loader: Any) -> None:
        self.events.eval_dataloader = loader
        self.fire("prediction_step")
        self.watch.leave_if_asked()

    def _save(self) -> Path:
        self._store_flos()
        self.state.stateful_callbacks = bookkeeping.export_callbacks([*self.events.callbacks, self.control])
        now = dataclasses.replace(
            self.progress,
            rows_per_update=bookkeeping.count_rows(self.args),
            is_stopping=self.control.should_training_stop,
            loss_sum=self.loss_sum.cpu(),
            num_skipped=self.watch.num_skipped,
            callbacks=bookkeeping.export_tensors(self.events.callbacks),
            seconds=self.progress.seconds + time.time() - self.started,
        )
        return snapshot.save(
            snapshot.Snapshot(
                parts=self.parts,
                args=self.args,
                state=self.state,
                optimizer=self.optimizer,
                scheduler=self.scheduler,
                scaler=self.scaler,
                engine_state=now.to_dict(),
            )
        )

    def _stop_here(self) -> NoReturn:
        """Save at once what is there; its log, evaluation and save come first when the run goes on."""
        self.progress.owed = "step" if self.progress.is_epoch_open else "epoch"
        self.progress.due = {name: getattr(self.control, name) for name in DUE}
        folder = self._save()
        self.fire("train_end")
        raise Interrupted(self.watch.signum or signal.SIGTERM, str(folder))

    def _store_flos(self) -> None:
        self.state.total_flos += devices.sum_over_processes(self.flos, self.args)
        self.flos = 0.0

    def _rows_of(self, number: int) -> tuple[int, ...]:
        return self.loader.tickets.rows_of(self.progress.epoch, number)
