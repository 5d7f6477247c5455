"""Micro-batches made from tickets: rows fetched and collated in a random stream of their own.

Whatever a data set or a collator draws from the global generators is a function of (seed, epoch, ticket), in
this process or in a worker; training's own stream does not notice. The epoch travels with the ticket, so it
reaches persistent workers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import Dataset
from transformers import TrainingArguments

from hf_finetune.engines.ingredients import Batch
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
                rows = self.dataset.__getitems__(list(ticket.rows))
            else:
                rows = [self.dataset[row] for row in ticket.rows]
            return self.collate(rows)


class StreamSource(Dataset[Any]):
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


def set_epoch(dataset: Any, epoch: int) -> None:
    """Tell a data set the epoch, when it wants to know."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
