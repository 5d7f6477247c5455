"""What metrics remember instead of rows: counts of bounded size, and a spool of scores on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any, Literal, TypeAlias

import numpy as np

__all__ = ["Array", "ClassCounts", "PairCounts", "Spool"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class ClassCounts:
    """True positives, false positives and false negatives of each class: 3 C numbers, whatever the rows."""

    def __init__(self) -> None:
        self.table = np.zeros((3, 0), dtype=np.int64)  # [tp, fp, fn; C]

    def add_classes(self, predictions: Array, references: Array) -> None:
        """Count [N] predicted and true classes."""
        if not len(references):
            return
        num_classes = 1 + int(max(predictions.max(), references.max()))
        hits = np.bincount(references[predictions == references], minlength=num_classes)
        self._add(
            hits,
            np.bincount(predictions, minlength=num_classes) - hits,
            np.bincount(references, minlength=num_classes) - hits,
        )

    def add_labels(self, predictions: Array, references: Array) -> None:
        """Count [B, C] predicted and true labels, 0 or 1; any other reference does not count."""
        is_given, is_true, is_false = predictions == 1, references == 1, references == 0
        self._add(
            (is_given & is_true).sum(axis=0),
            (is_given & is_false).sum(axis=0),
            (~is_given & is_true).sum(axis=0),
        )

    def grow(self, num_classes: int) -> None:
        """Make room for at least `num_classes` classes."""
        missing = num_classes - self.table.shape[1]
        if missing > 0:
            self.table = np.pad(self.table, ((0, 0), (0, missing)))

    def _add(self, *rows: Array) -> None:
        self.grow(len(rows[0]))
        self.table[:, : len(rows[0])] += np.stack(rows)


class PairCounts:
    """How often each (prediction, reference) pair of classes occurred: at most C * C numbers.

    Pairs that never occur take no room, so that 21,000 classes are no trouble.
    """

    _SHIFT = 2**32
    _MAX_PENDING = 2**14

    def __init__(self) -> None:
        self._codes = np.empty(0, dtype=np.int64)  # reference * 2^32 + prediction, sorted
        self._counts = np.empty(0, dtype=np.int64)
        self._pending: list[Array] = []
        self._num_pending = 0

    def add(self, predictions: Array, references: Array) -> None:
        """Count [N] predicted and true classes."""
        self._pending.append(references.astype(np.int64) * self._SHIFT + predictions)
        self._num_pending += len(references)
        if self._num_pending > max(self._MAX_PENDING, len(self._codes)):
            self._merge()

    def read(self) -> tuple[Array, Array, Array]:
        """Return predictions, references and counts of the pairs that occurred."""
        self._merge()
        references, predictions = np.divmod(self._codes, self._SHIFT)
        return predictions, references, self._counts

    def _merge(self) -> None:
        seen, seen_counts = np.unique(np.concatenate([self._codes[:0], *self._pending]), return_counts=True)
        self._codes, where = np.unique(np.concatenate([self._codes, seen]), return_inverse=True)
        counts = np.zeros(len(self._codes), dtype=np.int64)
        np.add.at(counts, where, np.concatenate([self._counts, seen_counts]))
        self._counts, self._pending, self._num_pending = counts, [], 0


class Spool:
    """Rows on the disk, in a file that has no name: nothing is left behind, however the process ends.

    Args:
        folder: A folder on the disk that takes the file.

    Attributes:
        row_shape: Of each row; known after the first.
    """

    PART_ROWS = 2**14

    def __init__(self, folder: str) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __del__
        self._dtype: np.dtype[Any] = np.dtype(np.float64)
        self._num_rows = 0
        self.row_shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return self._num_rows

    def append(self, rows: Array) -> None:
        """Add rows; all have the type and shape of the first."""
        if not self._num_rows:
            self._dtype, self.row_shape = rows.dtype, rows.shape[1:]
        if rows.shape[1:] != self.row_shape:
            raise ValueError(f"a row of shape {rows.shape[1:]} after rows of shape {self.row_shape}")
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self._num_rows += len(rows)

    def read_parts(self) -> Iterator[Array]:
        """Return the rows, some thousand at a time: mapped from the file, so that a column costs a column."""
        if self._num_rows:
            rows = self._map("r").reshape(-1, *self.row_shape)
            for start in range(0, self._num_rows, self.PART_ROWS):
                yield rows[start : start + self.PART_ROWS]

    def sort(self) -> Array:
        """Sort numbers where they lie, and return them as they lie."""
        numbers = self._map("r+")
        numbers.sort()
        return numbers

    def _map(self, mode: Literal["r", "r+"]) -> Array:
        self._file.flush()
        mapped: Array = np.memmap(self._file, dtype=self._dtype, mode=mode)
        return mapped.view(np.ndarray)

    def __del__(self) -> None:
        if hasattr(self, "_file"):  # not where the folder could not take a file
            self._file.close()
