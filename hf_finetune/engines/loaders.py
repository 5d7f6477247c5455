"""Micro-batches: which rows, in which order, on which process. The same for both engines.

    rows of an epoch    shuffled by (seed, epoch), or sorted, or grouped by length
    round               what all processes take at once: W * B rows, fewer at the end
    ticket              one process' share of a round: (epoch, number of the round, row indices)
    micro-batch         the rows of a ticket, fetched and collated, here or in a worker process

Four properties that `Trainer`'s own loading lacks, and that exact resume needs:

* nothing here draws from the global random stream, and what a data set or a collator draws from it is a
  function of (seed, epoch, ticket), so a run resumes anywhere with any number of workers;
* the epoch travels with the ticket, so it reaches persistent workers;
* the last round is dealt out evenly: every row is seen exactly once per epoch, whatever the number of
  processes;
* a ticket names its rows, so a bad loss can be traced to them.

W processes, B rows in a micro-batch, G micro-batches in a window.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset
from transformers import TrainingArguments
from transformers.trainer_pt_utils import BatchRebalanceSampler, get_length_grouped_indices
from transformers.trainer_utils import has_length

from hf_finetune.engines.ingredients import Batch, Ingredients
from hf_finetune.engines.randomness import isolated, mix_seed
from hf_finetune.errors import DataError, UserError

__all__ = ["MicroBatchLoader", "Ticket", "build_eval_loader", "build_train_loader", "deal"]


class Ticket(NamedTuple):
    """Which micro-batch to make: the `number`-th of `epoch`, of these `rows` (empty for a stream)."""

    epoch: int
    number: int
    rows: tuple[int, ...]


def deal(num_rows: int, process: int, num_processes: int) -> range:
    """Return the positions within a round that one process takes; sizes differ by at most one.

    Example:
        >>> [list(deal(5, process, 2)) for process in range(2)]
        [[0, 1], [2, 3, 4]]
    """
    return range(num_rows * process // num_processes, num_rows * (process + 1) // num_processes)


def _rounds(rows: Sequence[int], size: int, num_processes: int, *, drop_last: bool) -> list[Sequence[int]]:
    """Cut the rows of an epoch into rounds; each has a row for every process."""
    rounds = [rows[start : start + size] for start in range(0, len(rows), size)]
    if rounds and len(rounds[-1]) < size and drop_last:
        rounds.pop()
    elif len(rounds) > 1 and len(rounds[-1]) < num_processes:
        leftover = rounds.pop()
        rounds[-1] = [*rounds[-1], *leftover]
    return rounds


class Tickets(BatchSampler):
    """The tickets of one process, epoch by epoch; a pure function of the epoch.

    Args:
        plan: epoch -> the rows of each micro-batch of this process.
        num_tickets: How many there are in an epoch.
        on_epoch: Called with the epoch before its first ticket (`train_dataset.set_epoch`).
    """

    def __init__(
        self,
        plan: Callable[[int], list[Sequence[int]]],
        num_tickets: int,
        on_epoch: Callable[[int], None] | None = None,
    ) -> None:
        self.plan, self.num_tickets, self.on_epoch = plan, num_tickets, on_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iterator; `Trainer` looks for a method of this name."""
        self.epoch = epoch
        if self.on_epoch is not None:
            self.on_epoch(epoch)

    def rows_of(self, epoch: int, number: int) -> tuple[int, ...]:
        """Return the row indices of one ticket; empty for a stream."""
        rows = self.plan(epoch)
        return tuple(rows[number]) if number < len(rows) else ()

    def __iter__(self) -> Iterator[Any]:
        rows = self.plan(self.epoch)
        for number in range(self.num_tickets):
            yield Ticket(self.epoch, number, tuple(rows[number]) if rows else ())

    def __len__(self) -> int:
        return self.num_tickets


class _Rows(Dataset[Any]):
    """Make the micro-batch of a ticket from a data set with row indices."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Batch], seed: int, process: int) -> None:
        self.dataset, self.collate, self.seed, self.process = dataset, collate, seed, process
        self.epoch: int | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, ticket: Ticket) -> Batch:
        """Return a ready micro-batch; torch's loader calls this where a data set has it."""
        if ticket.epoch != self.epoch:
            self.epoch = ticket.epoch
            set_epoch(self.dataset, ticket.epoch)
        with isolated(mix_seed(self.seed, ticket.epoch, ticket.number, self.process)):
            if hasattr(self.dataset, "__getitems__"):
                rows = self.dataset.__getitems__(list(ticket.rows))
            else:
                rows = [self.dataset[row] for row in ticket.rows]
            return self.collate(rows)


class _Stream(Dataset[Any]):
    """Make the micro-batch of a ticket from a stream, which can only be read forwards.

    A stream is one long epoch: pass follows pass, with `set_epoch(pass)` before each, until training stops. A
    pass may end with a smaller round; no window of gradients is ever left over. Resuming reads the stream
    again up to the ticket asked for.
    """

    def __init__(
        self, dataset: Any, collate: Callable[[list[Any]], Batch], args: TrainingArguments, seed: int
    ) -> None:
        self.dataset, self.collate, self.seed = dataset, collate, seed
        self.process, self.num_processes = args.process_index, args.world_size
        self.round_size = args.train_batch_size * args.world_size
        self.drop_last = args.dataloader_drop_last
        self.rounds: Iterator[list[Any]] | None = None
        self.next_number = 0

    def __getitems__(self, ticket: Ticket) -> Batch:
        """Return a ready micro-batch; torch's loader calls this where a data set has it."""
        if self.rounds is None or ticket.number < self.next_number:
            self.rounds, self.next_number = self._read(), 0
        while True:
            rows = next(self.rounds)
            self.next_number += 1
            if self.next_number > ticket.number:
                break
        share = deal(len(rows), self.process, self.num_processes)
        with isolated(mix_seed(self.seed, ticket.epoch, ticket.number, self.process)):
            return self.collate([rows[i] for i in share])

    def _read(self) -> Iterator[list[Any]]:
        """Yield round after round, pass after pass."""
        for pass_number in range(2**62):
            set_epoch(self.dataset, pass_number)
            rows, held, num_rounds = iter(self.dataset), None, 0
            while True:
                with isolated(mix_seed(self.seed, pass_number, num_rounds, -1)):
                    chunk = [row for _, row in zip(range(self.round_size), rows, strict=False)]
                if len(chunk) < self.round_size:
                    break
                if held is not None:
                    yield held
                held, num_rounds = chunk, num_rounds + 1
            # `held` waits one round, so that a leftover too small for all processes can join it
            if chunk and not self.drop_last and (len(chunk) >= self.num_processes or held is None):
                yield from ([held, chunk] if held is not None else [chunk])
            elif held is not None:
                yield held if self.drop_last else held + chunk
            else:
                raise DataError("the training stream has no rows", todo="Look at data.path and its splits.")


class MicroBatchLoader(DataLoader[Any]):
    """torch's loader over tickets.

    `accelerate.skip_first_batches`, with which `Trainer` resumes within an epoch, turns it into a plain
    `DataLoader` over the same tickets without the first ones; no row of those is fetched.
    """

    def __init__(
        self, source: _Rows | _Stream, tickets: Tickets, args: TrainingArguments, *, persistent: bool
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
            worker_init_fn=partial(_leave_signals_to_the_parent, TRAINING),
        )
        self.tickets = tickets

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iterator."""
        self.tickets.set_epoch(epoch)


TRAINING = torch.zeros(1, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
"""1 while an engine trains in this process; its data workers see it."""


def _leave_signals_to_the_parent(training: torch.Tensor, worker: int) -> None:
    """Let a worker outlive the signals that a terminal or a scheduler sends to every process of a run.

    The update that is finished before a run stops needs its rows. A worker ends when it is told that there is
    no more to do, when its parent is gone, or by SIGTERM once the training is over: that is how python ends
    what is left of its children, and it waits for them.
    """

    def end_unless_training(signum: int, frame: FrameType | None) -> None:
        if not training.item():
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end_unless_training)


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
        stream = _Stream(dataset, parts.collate, args, seed)
        return MicroBatchLoader(stream, Tickets(lambda epoch: [], num_tickets), args, persistent=True)
    plan = _train_plan(parts, args, seed)
    num_tickets = len(plan(0))
    if num_tickets == 0:
        raise DataError(
            f"the training set of {len(dataset)} rows does not fill a batch of {args.train_batch_size} rows "
            f"on each of {args.world_size} processes",
            todo="Lower per_device_train_batch_size or leave out dataloader_drop_last.",
        )
    source = _Rows(dataset, parts.collate, seed, args.process_index)
    tickets = Tickets(plan, num_tickets, on_epoch=lambda epoch: set_epoch(dataset, epoch))
    return MicroBatchLoader(source, tickets, args, persistent=args.dataloader_persistent_workers)


def build_eval_loader(parts: Ingredients, dataset: Any, args: TrainingArguments) -> MicroBatchLoader:
    """Return this process' loader of evaluation micro-batches, in the order of the rows.

    A process whose share of the last round is empty gets the first row of that round instead; `evaluate`
    knows and leaves it out.
    """
    process, num_processes = args.process_index, args.world_size
    rounds = _rounds(range(len(dataset)), args.eval_batch_size * num_processes, 1, drop_last=False)
    shares: list[Sequence[int]] = [
        [rows[i] for i in deal(len(rows), process, num_processes)] or [rows[0]] for rows in rounds
    ]
    source = _Rows(dataset, parts.collate, args.seed, process)
    return MicroBatchLoader(source, Tickets(lambda epoch: shares, len(shares)), args, persistent=False)


def set_epoch(dataset: Any, epoch: int) -> None:
    """Tell a data set the epoch, when it wants to know."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)


def _train_plan(
    parts: Ingredients, args: TrainingArguments, seed: int
) -> Callable[[int], list[Sequence[int]]]:
    dataset: Any = parts.train_dataset
    process, num_processes = args.process_index, args.world_size
    round_size = args.train_batch_size * num_processes
    strategy = args.train_sampling_strategy
    lengths = count_lengths(parts, args) if strategy in ("group_by_length", "batch_rebalance") else []

    def balanced(epoch: int) -> list[Sequence[int]]:
        sampler = BatchRebalanceSampler(
            lengths=lengths,
            effective_batch_size=round_size * args.gradient_accumulation_steps,
            dp_size=num_processes,
            grad_accum=args.gradient_accumulation_steps,
            seed=seed,
            rank=process,
            drop_last=args.dataloader_drop_last,
        )
        sampler.set_epoch(epoch)
        return list(sampler)

    def in_rounds(epoch: int) -> list[Sequence[int]]:
        generator = torch.Generator().manual_seed(seed + epoch)
        if strategy == "sequential":
            order: Sequence[int] = range(len(dataset))
        elif strategy == "group_by_length":
            window = round_size * args.gradient_accumulation_steps
            order = get_length_grouped_indices(lengths, window, generator=generator)
        else:
            order = torch.randperm(len(dataset), generator=generator).tolist()
        rounds = _rounds(order, round_size, num_processes, drop_last=args.dataloader_drop_last)
        return [[rows[i] for i in deal(len(rows), process, num_processes)] for rows in rounds]

    if 0 < len(dataset) < num_processes:
        raise DataError(f"{len(dataset)} training rows are too few for {num_processes} processes")
    return balanced if strategy == "batch_rebalance" else in_rounds


def count_lengths(parts: Ingredients, args: TrainingArguments) -> list[int]:
    """Return the length of every training row: the data set's column or attribute, else measured.

    Raises:
        DataError: The rows have no input whose length could be measured.
    """
    dataset: Any = parts.train_dataset
    column = args.length_column_name
    if column in (getattr(dataset, "column_names", None) or ()):
        return [int(length) for length in dataset[column]]
    if hasattr(dataset, "lengths"):
        return [int(length) for length in dataset.lengths]
    name = getattr(parts.model, "main_input_name", "input_ids")
    try:
        return [len(dataset[row][name]) for row in range(len(dataset))]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"train_sampling_strategy={args.train_sampling_strategy!r} needs the length of each row, and the "
            f"rows have neither a column {column!r} nor an input {name!r} with a length",
            todo="Add the column, or use train_sampling_strategy: random.",
        ) from error


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
