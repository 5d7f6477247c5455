"""Loaders of micro-batches, the same for both engines; they draw nothing from the global random stream."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import TrainingArguments
from transformers.trainer_utils import has_length

from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.sources import RowSource, StreamSource, set_epoch
from hf_finetune.engines.tickets import Tickets, plan_evaluation, plan_training
from hf_finetune.engines.workers import TRAINING, leave_signals_to_the_parent, wait_before_fork
from hf_finetune.errors import DataError, UserError

__all__ = ["MicroBatchLoader", "build_eval_loader", "build_train_loader"]


class MicroBatchLoader(DataLoader[Any]):
    """torch's loader over tickets.

    `accelerate.skip_first_batches`, with which `Trainer` resumes within an epoch, turns it into a plain
    `DataLoader` over the same tickets without the first ones; no row of those is fetched.
    """

    def __init__(
        self, source: RowSource | StreamSource, tickets: Tickets, args: TrainingArguments, *, persistent: bool
    ) -> None:
        super().__init__(
            source,
            batch_sampler=tickets,
            collate_fn=_as_is,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and args.device.type == "cuda",
            persistent_workers=persistent and args.dataloader_num_workers > 0,
            multiprocessing_context=args.dataloader_multiprocessing_context,
            prefetch_factor=args.dataloader_prefetch_factor,
            in_order=args.dataloader_in_order,
            # with a generator of its own, making an iterator draws nothing from the global stream
            generator=torch.Generator(),
            worker_init_fn=partial(leave_signals_to_the_parent, TRAINING),
        )
        self.tickets = tickets
        tickets.has_workers = args.dataloader_num_workers > 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iterator."""
        self.tickets.set_epoch(epoch)

    def __iter__(self) -> Any:
        if self.tickets.has_workers:
            wait_before_fork()
        return super().__iter__()


def build_train_loader(parts: Ingredients, args: TrainingArguments) -> MicroBatchLoader:
    """Return this process' loader of training micro-batches.

    Raises:
        DataError: The training set is missing or too small.
        UserError: The arguments ask for what a stream cannot do.
    """
    dataset: Any = parts.train_dataset
    seed = args.seed if args.data_seed is None else args.data_seed
    if dataset is None:
        raise DataError("there is no training set", todo="Give `train_dataset`.")
    if isinstance(dataset, IterableDataset) or not has_length(dataset):
        _check_stream(args)
        num_tickets = args.max_steps * args.gradient_accumulation_steps
        stream = StreamSource(dataset, parts.collate, args, seed)
        return MicroBatchLoader(stream, Tickets(lambda epoch: [], num_tickets), args, persistent=True)
    plan = plan_training(parts, args, seed)
    num_tickets = len(plan(0))
    if num_tickets == 0:
        raise DataError(
            f"the training set of {len(dataset)} rows does not fill a batch of {args.train_batch_size} rows "
            f"on each of {args.world_size} processes",
            todo="Lower per_device_train_batch_size or leave out dataloader_drop_last.",
        )
    source = RowSource(dataset, parts.collate, seed, args.process_index)
    tickets = Tickets(plan, num_tickets, on_epoch=lambda epoch: set_epoch(dataset, epoch))
    return MicroBatchLoader(source, tickets, args, persistent=args.dataloader_persistent_workers)


def build_eval_loader(parts: Ingredients, dataset: Any, args: TrainingArguments) -> MicroBatchLoader:
    """Return this process' loader of evaluation micro-batches, in the order of the rows."""
    shares = plan_evaluation(len(dataset), args)
    source = RowSource(dataset, parts.collate, args.seed, args.process_index)
    return MicroBatchLoader(source, Tickets(lambda epoch: shares, len(shares)), args, persistent=False)


def _check_stream(args: TrainingArguments) -> None:
    problems = {
        "max_steps": args.max_steps <= 0,
        "dataloader_num_workers": args.dataloader_num_workers > 1,
        "train_sampling_strategy": args.train_sampling_strategy not in ("random", "sequential"),
        "eval_strategy": args.eval_strategy == "epoch",
        "save_strategy": args.save_strategy == "epoch",
        "logging_strategy": args.logging_strategy == "epoch",
    }
    if not any(problems.values()):
        return
    name = next(name for name, is_wrong in problems.items() if is_wrong)
    todo = {
        "max_steps": "Say max_steps: a stream does not know its length.",
        "dataloader_num_workers": "Use 0 or 1: a stream is read forwards by one process.",
        "train_sampling_strategy": "Use random: the order of a stream is its own.",
    }.get(name, "Use steps: a stream has no epochs.")
    raise UserError(f"training.{name} = {getattr(args, name)} does not go with a stream", todo=todo)


def _as_is(batch: Any) -> Any:
    return batch
