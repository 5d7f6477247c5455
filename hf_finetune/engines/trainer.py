"""The Trainer engine: `transformers.Trainer` with our ingredients, and right where it is wrong.

What is different from a plain `Trainer`, and why, stands at each override. Overridden methods whose names
start with an underscore are not part of its interface: they are those of transformers 5.23, all in this file,
and tests/unit/engines/test_trainer_seams.py notices when one of them changes.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from hf_finetune import optim
from hf_finetune.engines import bookkeeping, checkpoint, devices, snapshot
from hf_finetune.engines.arguments import require_arguments
from hf_finetune.engines.bookkeeping import Progress
from hf_finetune.engines.evaluation import count_targets, evaluate, name_eval_sets, to_device
from hf_finetune.engines.ingredients import Batch, Ingredients
from hf_finetune.engines.loaders import build_train_loader
from hf_finetune.engines.watch import Watch
from hf_finetune.errors import Interrupted

__all__ = ["fit"]


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
        engine = _Engine(parts, args, resume_from)
        with engine.watch:
            engine.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
            engine.watch.stop_if_asked()
        return engine.state

    args = bookkeeping.settle_arguments(parts.args)
    return devices.search_batch_size(attempt, parts.model, args, resume_from)


class _Engine(Trainer):  # type: ignore[misc]
    def __init__(self, parts: Ingredients, args: TrainingArguments, resume_from: Path | None) -> None:
        self.parts, self.resume_from = parts, resume_from
        self.optimizer: Any
        self.lr_scheduler: Any
        self.control: Any
        self.current_flos: float
        self.progress = Progress()
        self.resumed: Progress | None = None
        self.losses: list[torch.Tensor] = []
        self.num_micro_batches = 0
        self.num_parameters = devices.count_parameters(parts.model)
        self.started = time.time()
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

    # ---- data: ours, so that both engines see the same rows and can resume anywhere ------------------------

    def get_train_dataloader(self) -> Any:
        self.train_loader = build_train_loader(self.parts, self.args)
        return self.train_loader

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor | None]:
        """Take one window and count its targets, over all processes."""
        window = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        self.losses = []
        if not window:
            return [], None
        num_targets = count_targets(window).to(device)
        if self.args.world_size > 1 and self.args.average_tokens_across_devices:
            num_targets = self.accelerator.gather(num_targets).sum()
        return window, num_targets

    # ---- optimizer and schedule: the same objects as the loop's --------------------------------------------

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        if self.optimizer is None:
            self.optimizer = optim.build_optimizer(self.model if model is None else model, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            target = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = optim.build_scheduler(target, self.args, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # ---- one micro-batch -----------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Do forward and backward. Trainer's own walks through all modules on each micro-batch as well."""
        loss = self.compute_loss(
            model, to_device(inputs, self.args.device), num_items_in_batch=num_items_in_batch
        )
        self.accelerator.backward(loss)
        self.losses.append(loss.detach())
        devices.empty_cache(self.state, self.args)
        return self.losses[-1]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Sum over targets / targets of the window. Trainer's is G times that for BERT, T5, wav2vec2 ..."""
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = self.parts.loss(outputs, labels, inputs=inputs, num_items_in_batch=num_items_in_batch)
        if self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages over processes; we want the sum
        return (loss, outputs) if return_outputs else loss

    def floating_point_ops(self, inputs: Batch) -> int:
        """Count as Trainer does, without counting the parameters again on each micro-batch."""
        return devices.count_operations(inputs, self.model, self.num_parameters)

    # ---- one update: the guard looks before the optimizer steps --------------------------------------------

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        should_skip = self.watch.should_skip(
            self.state.global_step + 1,
            self.losses,
            norm,
            self._get_learning_rate(),
            self.num_micro_batches,
            check_norm=self.accelerator.scaler is None,
        )
        if should_skip:
            model.zero_grad()  # an optimizer changes nothing where there is no gradient
        self.num_micro_batches += len(self.losses)
        self.progress.num_updates += 1
        return norm

    # ---- the calendar --------------------------------------------------------------------------------------

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
            self._stop_here(self.watch.signum)
        is_logging = self.control.should_log
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *others, learning_rate=learning_rate, **named)
        if is_logging:
            tr_loss.zero_()  # Trainer subtracts the sum from itself, and NaN - NaN is NaN

    def _stop_here(self, signum: int) -> None:
        """Save at once what is there; its log, evaluation and save come first when the run goes on."""
        progress, control = self.progress, self.control
        progress.owed = "step" if progress.is_epoch_open else "epoch"
        progress.due = {
            name: getattr(control, name) for name in ("should_log", "should_evaluate", "should_save")
        }
        folder = self._write_checkpoint()
        self.callback_handler.on_train_end(self.args, self.state, control)
        raise Interrupted(signum, str(folder))

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

    def store_flos(self) -> None:
        """Add up the processes' operations; Trainer does so in 32 bits."""
        self.state.total_flos += devices.sum_over_processes(self.current_flos, self.args)
        self.current_flos = 0

    def _track_num_input_tokens(self, inputs: Batch) -> None:
        self.state.num_input_tokens_seen += devices.count_input_tokens(
            inputs, self.model, self.processing_class, self.args
        )

    # ---- evaluation: in memory for one batch ---------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the evaluation sets; Trainer's own keeps the logits of all rows."""
        optim.set_mode(self.optimizer, training=False)
        scores: dict[str, float] = {}
        for prefix, dataset in name_eval_sets(eval_dataset or self.eval_dataset, metric_key_prefix).items():
            found = evaluate(self.parts, dataset, prefix=prefix, on_step=self._on_prediction_step)
            scores |= found
            self.log(found)
        optim.set_mode(self.optimizer, training=True)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores

    def _on_prediction_step(self, loader: Any) -> None:
        self.callback_handler.eval_dataloader = loader
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

    def _evaluate(
        self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False
    ) -> dict[str, float]:
        if skip_scheduler and self.resume_from is not None:
            return {}  # eval_on_start: the start of a resumed run lies before its checkpoint
        scores = self.evaluate()
        if optim.is_metric_driven(self.lr_scheduler) and not skip_scheduler:
            self.lr_scheduler.step(bookkeeping.score_of(scores, self.args))
        return scores

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Judge as Trainer does, but NaN is never the best."""
        return bookkeeping.take_if_best(metrics, self.state, self.args)

    # ---- checkpoints: crash-proof, and read back with every weight -----------------------------------------

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


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """What the engine does at events; the last of the callbacks."""

    def __init__(self, engine: _Engine) -> None:
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
        checkpoint.restore_rng(engine.resume_from, engine.args)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.engine.progress.is_epoch_open = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.engine.progress.is_epoch_open = False
