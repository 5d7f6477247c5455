"""Which rows, in which order, on which process: the plan of an epoch, and the tickets that carry it out.

    rows of an epoch    shuffled by (seed, epoch), or sorted, or grouped by length
    round               what all processes take at once: W * B rows, fewer at the end
    ticket              one process' share of a round: (epoch, number of the round, row indices)

Everything is a function of (seed, epoch), on every process alike. The last round is dealt out evenly, so
every row is seen exactly once per epoch, and an update sees the same rows on any number of processes, as long
as W * B * G is the same. Where the last round has no row for a process, that one gets a filler: a row of
another process that counts nothing, because all have to take part in the exchange of gradients.

W processes, B rows in a micro-batch, G micro-batches in a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import BatchSampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import BatchRebalanceSampler, get_length_grouped_indices

from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.workers import wait_before_fork
from hf_finetune.errors import DataError

__all__ = ["Plan", "Ticket", "Tickets", "count_lengths", "deal", "plan_evaluation", "plan_training"]


class Share(NamedTuple):
    """The rows of a micro-batch of one process; with `is_filler` they stand in and do not count."""

    rows: tuple[int, ...] = ()
    is_filler: bool = False


Plan = Callable[[int], list[Share]]
"""epoch -> the micro-batches of this process."""


class Ticket(NamedTuple):
    """Which micro-batch to make: the `number`-th of `epoch`, of this `share` (without rows for a stream)."""

    epoch: int
    number: int
    share: Share


def deal(num_rows: int, process: int, num_processes: int) -> range:
    """Return the positions within a round that one process takes; sizes differ by at most one.

    Example:
        >>> [list(deal(5, process, 2)) for process in range(2)]
        [[0, 1], [2, 3, 4]]
    """
    return range(num_rows * process // num_processes, num_rows * (process + 1) // num_processes)


class Tickets(BatchSampler):
    """The tickets of one process, epoch by epoch; a pure function of the epoch.

    Args:
        plan: The rows of each micro-batch of this process; gives none for a stream.
        num_tickets: How many there are in an epoch.
        on_epoch: Called with the epoch before its first ticket (`train_dataset.set_epoch`).
    """

    def __init__(
        self,
        plan: Plan,
        num_tickets: int,
        on_epoch: Callable[[int], None] | None = None,
    ) -> None:
        self.plan, self.num_tickets, self.on_epoch = plan, num_tickets, on_epoch
        self.epoch, self.has_workers = 0, False

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iterator; `Trainer` looks for a method of this name."""
        self.epoch = epoch
        if self.on_epoch is not None:
            self.on_epoch(epoch)
        if self.has_workers:  # the next iterator may be a plain loader's
            wait_before_fork()

    def rows_of(self, epoch: int, number: int) -> tuple[int, ...]:
        """Return the row indices of one ticket; empty for a stream and a filler."""
        shares = self.plan(epoch)
        return shares[number].rows if number < len(shares) and not shares[number].is_filler else ()

    def __iter__(self) -> Iterator[Any]:
        shares = self.plan(self.epoch) or [Share()] * self.num_tickets
        for number, share in enumerate(shares):
            yield Ticket(self.epoch, number, share)

    def __len__(self) -> int:
        return self.num_tickets


def plan_training(parts: Ingredients, args: TrainingArguments, seed: int) -> Plan:
    """Return the rows of each training micro-batch of this process, as a function of the epoch.

    Raises:
        DataError: There are fewer rows than processes, or their lengths are needed and unknown.
    """
    dataset: Any = parts.train_dataset
    process, num_processes = args.process_index, args.world_size
    round_size = args.train_batch_size * num_processes
    strategy, drop_last = args.train_sampling_strategy, args.dataloader_drop_last
    # without the sum over devices each divides by its own targets, and so must have some
    can_fill = args.average_tokens_across_devices or num_processes == 1
    lengths = count_lengths(parts, args) if strategy in ("group_by_length", "batch_rebalance") else []

    def balanced(epoch: int) -> list[Share]:
        size = round_size * args.gradient_accumulation_steps
        num_left = len(dataset) % size
        # with fewer rows than micro-batches the sampler would take some twice
        is_short = 0 < num_left < num_processes * args.gradient_accumulation_steps and can_fill
        sampler = BatchRebalanceSampler(
            lengths=lengths,
            effective_batch_size=size,
            dp_size=num_processes,
            grad_accum=args.gradient_accumulation_steps,
            seed=seed,
            rank=process,
            drop_last=drop_last or is_short,
        )
        sampler.set_epoch(epoch)
        left = shuffled(epoch)[-num_left:] if is_short and not drop_last else []
        return [Share(tuple(rows)) for rows in sampler] + [share(rows) for rows in _cut(left, num_processes)]

    def in_rounds(epoch: int) -> list[Share]:
        if strategy == "sequential":
            order: Sequence[int] = range(len(dataset))
        elif strategy == "group_by_length":
            window = round_size * args.gradient_accumulation_steps
            generator = torch.Generator().manual_seed(seed + epoch)
            order = get_length_grouped_indices(lengths, window, generator=generator)
        else:
            order = shuffled(epoch)
        rounds = _cut(order, round_size)
        if drop_last:
            rounds = [rows for rows in rounds if len(rows) == round_size]
        elif not can_fill and len(rounds) > 1 and len(rounds[-1]) < num_processes:
            rounds[-2:] = [[*rounds[-2], *rounds[-1]]]
        return [share(rows) for rows in rounds]

    def shuffled(epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed + epoch)
        order: list[int] = torch.randperm(len(dataset), generator=generator).tolist()
        return order

    def share(rows: Sequence[int]) -> Share:
        return _share(rows, process, num_processes)

    if 0 < len(dataset) < num_processes:
        raise DataError(f"{len(dataset)} training rows are too few for {num_processes} processes")
    return balanced if strategy == "batch_rebalance" else in_rounds


def plan_evaluation(num_rows: int, args: TrainingArguments) -> list[Share]:
    """Return the evaluation micro-batches of this process, in the data set's order."""
    rounds = _cut(range(num_rows), args.eval_batch_size * args.world_size)
    return [_share(rows, args.process_index, args.world_size) for rows in rounds]


def _cut(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _share(rows: Sequence[int], process: int, num_processes: int) -> Share:
    """Deal out a round; a process without a row takes part with the first one, which is counted elsewhere."""
    own = tuple(rows[i] for i in deal(len(rows), process, num_processes))
    return Share(own) if own else Share((rows[0],), is_filler=True)


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
