"""Micro-batches made from tickets: rows fetched and collated in a random stream of their own.

Whatever a data set or a collator draws from the global generators is a function of (seed, epoch, ticket), in
this process or in a worker; training's own stream does not notice. The epoch travels with the ticket, so it
reaches persistent workers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

from torch.utils.data import Dataset
from transformers import TrainingArguments

from hf_finetune.engines.ingredients import Batch, Filler
from hf_finetune.engines.randomness import isolated, mix_seed
from hf_finetune.engines.tickets import Ticket, deal
from hf_finetune.errors import DataError

__all__ = ["RowSource", "StreamSource", "set_epoch"]


class RowSource(Dataset[Any]):
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
                rows = self.dataset.__getitems__(list(ticket.share.rows))
            else:
                rows = [self.dataset[row] for row in ticket.share.rows]
            batch = self.collate(rows)
        return Filler(batch) if ticket.share.is_filler else batch


class StreamSource(Dataset[Any]):
    """Make the micro-batch of a ticket from a stream, which can only be read forwards.

    A stream is one long epoch: pass follows pass without a gap, with `set_epoch(pass)` before each, until
    training stops. So every round is full, and an update sees the same rows on any number of processes.
    Resuming reads the stream again up to the ticket asked for.
    """

    def __init__(
        self, dataset: Any, collate: Callable[[list[Any]], Batch], args: TrainingArguments, seed: int
    ) -> None:
        self.dataset, self.collate, self.seed = dataset, collate, seed
        self.process, self.num_processes = args.process_index, args.world_size
        self.round_size = args.train_batch_size * args.world_size
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
        """Yield round after round."""
        rows = self._rows()
        for number in count():
            with isolated(mix_seed(self.seed, number, -1)):
                chunk = list(islice(rows, self.round_size))
            yield chunk

    def _rows(self) -> Iterator[Any]:
        for pass_number in count():
            set_epoch(self.dataset, pass_number)
            is_empty = True
            for row in self.dataset:
                is_empty = False
                yield row
            if is_empty:
                raise DataError("the training stream has no rows", todo="Look at data.path and its splits.")


def set_epoch(dataset: Any, epoch: int) -> None:
    """Tell a data set the epoch, when it wants to know."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
