"""A split as a torch data set: decoded, augmented and transformed a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from hf_finetune.data.prepare import PreparedSplit
from hf_finetune.tasks.values import Preparation, Row, Targets, Tensors, Transform

__all__ = ["Augment", "RawRows", "Rows"]

Augment = Callable[[Row, np.random.Generator], Row]


class Kept(Protocol):
    """Model inputs that were made before."""

    def take(self, indices: Sequence[int]) -> Mapping[str, Tensors]:
        """Return the inputs of some rows, by their place in the split."""
        ...


class RawRows:
    """Decoded rows as they were before augmentation and processing, for pictures of mistakes.

    Args:
        split: Prepared rows.
        preparation: Reads them.
        rows: Which of them, by their number in the loaded split.
        targets: Of all of them.
    """

    def __init__(
        self, split: PreparedSplit, preparation: Preparation, rows: np.ndarray, targets: Targets
    ) -> None:
        self.split, self.rows, self.targets = split, rows, targets
        self.folders = preparation.folders
        self._read = preparation.read
        self._cached = split.cached.with_format("arrow")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        """Return a decoded row with "labels" and "row", its number in the loaded split."""
        row = self.rows[[index]]
        return {**self.decode(row)[0], "labels": self.targets.take(row)[0], "row": int(row[0])}

    def decode(self, rows: np.ndarray) -> list[Row]:
        """Return the decoded rows of these numbers."""

        def fetch(positions: Sequence[int]) -> Sequence[Any]:
            values: Sequence[Any] = self.split.source[rows[list(positions)]][self.split.column]
            return values

        return self._read(self._cached[rows], fetch)

    def lengths(self) -> np.ndarray | None:
        """Return int64 [N], the length of every row; None where rows have none."""
        lengths = self.split.lengths()
        return None if lengths is None else lengths[self.rows]

    def draw(self, rng: np.random.Generator) -> Row:
        """Return a decoded row, drawn by a generator."""
        return self.decode(self.rows[[int(rng.integers(len(self.rows)))]])[0]


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Rows ready for the task's `collate`: model inputs and "labels", nothing else.

    Augmentation is a function of (seed, epoch, row) alone: not of the batch a row is in, of the worker that
    makes it, or of what was drawn before.

    Args:
        raw: Decoded rows.
        transform: Decoded rows -> model inputs.
        augment: (row, generator) -> row; None leaves the rows as they are. The row has "others" beside its
            content: generator -> a decoded row of the same split.
        kept: The model inputs, where they were made before.
        longest: What augmentation leaves of a row's length at most; None leaves all of it.
        seed: Of the run.
    """

    def __init__(
        self,
        raw: RawRows,
        transform: Transform,
        *,
        augment: Augment | None = None,
        kept: Kept | None = None,
        longest: int | None = None,
        seed: int = 0,
    ) -> None:
        self.raw, self.transform, self.augment, self.kept, self.seed = raw, transform, augment, kept, seed
        self.longest = longest
        # in shared memory, so that it reaches workers which live on from epoch to epoch
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def lengths(self) -> list[int]:
        """Return the length of every row, of what is left of it in training, where the preparation knows it.

        Raises:
            AttributeError: It does not; so `hasattr` is False for these rows.
        """
        lengths = self.raw.lengths()
        if lengths is None:
            raise AttributeError("the rows have no length")
        if self.longest is not None:
            lengths = np.minimum(lengths, self.longest)
        chosen: list[int] = lengths.tolist()
        return chosen

    @property
    def full_length(self) -> int | None:
        """The length that all inputs are brought to, whatever that of the rows; None where they are not."""
        return getattr(self.transform, "full_length", None)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that augmentation depends on, here and in running workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Return several rows, made in one piece: views of one tensor for each input."""
        numbers = self.raw.rows[list(indices)]
        inputs = self.transform(self._decode(numbers)) if self.kept is None else self.kept.take(indices)
        batch = {**inputs, "labels": self.raw.targets.take(numbers)}
        return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]

    def _decode(self, numbers: np.ndarray) -> list[Row]:
        rows = self.raw.decode(numbers)
        if self.augment is None:
            return rows
        return [
            self.augment({**row, "others": self.raw.draw}, self._generator(number))
            for row, number in zip(rows, numbers, strict=True)
        ]

    def _generator(self, row: int) -> np.random.Generator:
        # Philox numbers its blocks: (epoch, row) in the upper words of the counter gives every row of every
        # epoch 2**128 blocks of its own. Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
        counter = np.array([0, 0, int(self._epoch), row], np.uint64)
        return np.random.Generator(np.random.Philox(key=self.seed, counter=counter))
