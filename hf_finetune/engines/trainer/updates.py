"""One update of the Trainer engine: the same rows, loss, optimizer and schedule as the loop's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hf_finetune import optim
from hf_finetune.engines import devices
from hf_finetune.engines.evaluation import count_targets, to_device
from hf_finetune.engines.ingredients import Batch, Filler
from hf_finetune.engines.loaders import build_train_loader
from hf_finetune.engines.trainer.shared import Shared

__all__ = ["Updates"]


class Updates(Shared):
    """Rows in, one step of the optimizer out."""

    # ---- data: ours, so that both engines see the same rows and can resume anywhere ------------------------

    def get_train_dataloader(self) -> Any:
        """Return the loader both engines use."""
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
        """Return the optimizer of optim.py."""
        if self.optimizer is None:
            self.optimizer = optim.build_optimizer(self.model if model is None else model, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of optim.py."""
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
        if isinstance(inputs, Filler):
            loss = loss * 0  # no row was left for this process; the exchange of gradients needs all
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

    # ---- accounts ------------------------------------------------------------------------------------------

    def store_flos(self) -> None:
        """Add up the processes' operations; Trainer does so in 32 bits."""
        self.state.total_flos += devices.sum_over_processes(self.current_flos, self.args)
        self.current_flos = 0

    def _track_num_input_tokens(self, inputs: Batch) -> None:
        self.state.num_input_tokens_seen += devices.count_input_tokens(
            inputs, self.model, self.processing_class, self.args
        )

    # ---- one update: the guard looks before the optimizer steps --------------------------------------------

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> float:
        norm = float(super()._get_grad_norm(model, grad_norm))
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
