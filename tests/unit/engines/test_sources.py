"""What a stream gives: the same rows an update on any number of processes, every pass whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from hf_finetune.engines.sources import StreamSource
from hf_finetune.engines.tickets import Share, Ticket
from hf_finetune.errors import DataError


class Numbers(IterableDataset[Any]):
    """Rows that say their pass, their number, and what was drawn from the global stream for them."""

    def __init__(self, number: int) -> None:
        self.number, self.epoch = number, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        for row in range(self.number):
            yield self.epoch, row, torch.rand(()).item()


def read(num_processes: int, num_rounds: int, number: int = 17) -> list[list[Any]]:
    """Return the rows of each round, over all processes."""
    found: list[list[Any]] = [[] for _ in range(num_rounds)]
    for process in range(num_processes):
        args: Any = SimpleNamespace(
            process_index=process, world_size=num_processes, train_batch_size=12 // num_processes
        )
        source = StreamSource(Numbers(number), list, args, seed=42)
        for i in range(num_rounds):
            found[i] += source.__getitems__(Ticket(0, i, Share()))  # type: ignore[arg-type]
    return found


def test_a_round_has_the_same_rows_on_any_number_of_processes() -> None:
    alone = read(1, 9)
    assert [len(rows) for rows in alone] == [12] * 9
    assert [(epoch, row) for rows in alone for epoch, row, _ in rows] == [
        (i // 17, i % 17) for i in range(9 * 12)
    ]
    assert read(2, 9) == read(3, 9) == read(4, 9) == alone


def test_a_stream_smaller_than_a_round_is_read_again() -> None:
    assert [(epoch, row) for epoch, row, _ in read(2, 1, number=5)[0]] == [(i // 5, i % 5) for i in range(12)]


def test_a_stream_without_rows_says_so() -> None:
    with pytest.raises(DataError, match="has no rows"):
        read(1, 1, number=0)
