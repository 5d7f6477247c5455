"""A column of transcripts -> tokens. Shapes: N rows, L tokens of a transcript."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from hf_finetune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TextTargets", "build_cleaner", "find_case", "read_transcripts"]

CHUNK = 1000
"""Transcripts in memory as Python text at once."""


class TextTargets:
    """The transcripts of one split as token numbers.

    Args:
        tokens: int32, of all rows, one row after the other.
        offsets: int64 [N + 1], where each row's tokens start.
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        self.tokens, self.offsets = tokens, offsets

    @classmethod
    def encode(cls, texts: Iterable[list[str]], encode: Callable[[str], Sequence[int]]) -> TextTargets:
        """Encode the texts of `read_transcripts`."""
        parts, lengths = [], [0]
        for chunk in texts:
            coded = [np.asarray(encode(text), np.int32) for text in chunk]
            lengths += [len(one) for one in coded]
            parts += coded
        return cls(np.concatenate([np.zeros(0, np.int32), *parts]), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, [N]."""
        return np.diff(self.offsets)

    def row(self, row: int) -> np.ndarray:
        """Return the tokens of one row, [L]."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: np.ndarray) -> list[torch.Tensor]:
        """Return the tokens of some rows, int64 [L] each."""
        return [torch.from_numpy(self.row(row).astype(np.int64)) for row in rows]

    def content(self, rows: np.ndarray) -> bytes:
        """Return bytes that differ when the transcripts of some rows do."""
        return bytes(self.tokens.tobytes() + self.offsets.tobytes() + rows.tobytes())

    @property
    def classes(self) -> None:
        """A transcript is of no class."""
        return None


def read_transcripts(
    columns: Mapping[str, pa.ChunkedArray], clean: Callable[[str], str], *, where: str
) -> dict[str, Callable[[], Iterable[list[str]]]]:
    """Return split -> its cleaned transcripts, chunk by chunk.

    Raises:
        DataError: The column is no text, a transcript is missing (null), or all of the training split are
            empty.
    """
    for split, column in columns.items():
        _require_text(split, column, where)
        if column.null_count:
            row = int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise DataError(
                f"{split} row {row}: the transcript is missing (null)",
                where=where,
                todo="Remove the row, or write an empty text where nothing is said; in a csv, where empty "
                "cells and words like null are taken for missing: data: {options: {keep_default_na: false}}.",
            )

    def read(column: pa.ChunkedArray) -> Callable[[], Iterable[list[str]]]:
        starts = range(0, len(column), CHUNK)
        return lambda: ([clean(t) for t in column.slice(s, CHUNK).to_pylist()] for s in starts)

    texts = {split: read(column) for split, column in columns.items()}
    first = next(iter(texts))
    if not any(text for chunk in texts[first]() for text in chunk):
        raise DataError(
            f"every transcript of the split {first!r} is empty",
            where=where,
            todo="Check the column, and what task.remove takes away.",
        )
    return texts


def _require_text(split: str, column: pa.ChunkedArray, where: str) -> None:
    """Refuse numbers: whoever read "007" as one has lost two zeros, and 1984.0 is not what was said."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return
    first = next((value for value in column.to_pylist() if value is not None), None)
    raise DataError(
        f"the transcripts of the split {split!r} are not text but {kind}, such as {first!r}",
        where=where,
        todo="Write them as text: a csv is read as numbers where it holds nothing else, a jsonl with "
        f'{{"text": "{first}"}} and a parquet of strings are not; zeros in front are then kept, too.',
    )


def build_cleaner(case: str | None, remove: str | None) -> Callable[[str], str]:
    """Return what every transcript goes through: one case, some characters gone, single spaces.

    Args:
        case: "lower", "upper", "keep" or None.
        remove: Regular expression of what is removed, applied after the change of case.
    """
    pattern = re.compile(remove) if remove else None

    def clean(text: str) -> str:
        text = " ".join(text.split())  # first: a pattern that allows spaces means any white space
        text = text.lower() if case == "lower" else text.upper() if case == "upper" else text
        return " ".join(pattern.sub("", text).split()) if pattern else text

    return clean


def find_case(tokens: Iterable[str]) -> str:
    """Return the case that a vocabulary knows letters in; "keep" where it knows both, or has none.

    Example:
        >>> find_case(["<pad>", "|", "A", "B"]), find_case(["a", "b"]), find_case(["A", "b"])
        ('upper', 'lower', 'keep')
    """
    letters = [token for token in tokens if len(token) == 1 and token.lower() != token.upper()]
    if letters and all(letter == letter.upper() for letter in letters):
        return "upper"
    return "lower" if letters and all(letter == letter.lower() for letter in letters) else "keep"
