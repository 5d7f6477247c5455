"""Decode and check the input column of a split once; `datasets` keeps the result on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.fingerprint import Hasher

from hf_finetune.data.cuts import hash_bounds
from hf_finetune.tasks.values import Preparation

__all__ = ["PreparedSplit", "forget", "map_once", "prepare_split"]

logger = logging.getLogger(__name__)

CHUNK = 256
"""Rows prepared at a time: at most 12 MB of raw pixels."""


@dataclass(frozen=True, kw_only=True)
class PreparedSplit:
    """A split with its prepared input, row by row the same.

    Args:
        source: The split as it was loaded; nothing in it is decoded.
        cached: What the preparation made of its input column.
        column: The input column of `source`.
    """

    source: datasets.Dataset
    cached: datasets.Dataset
    column: str

    def find_problems(self) -> list[tuple[int, str]]:
        """List the rows that cannot be used: (row, reason)."""
        problems = self._column("problem")
        rows = np.flatnonzero(np.asarray(problems.is_valid()))
        return [(int(row), problems[int(row)].as_py()) for row in rows]

    def digests(self) -> np.ndarray:
        """Return int64 [N] that identify the content of every row."""
        digests: np.ndarray = self._column("digest").to_numpy()
        return digests

    def lengths(self) -> np.ndarray | None:
        """Return int64 [N], the length of every row's input; None where it has none, as images have none."""
        return self._column("length").to_numpy() if "length" in self.cached.column_names else None

    def _column(self, name: str) -> Any:
        return self.cached.with_format("arrow")[:][name]


def _cache_folder() -> Path:
    """Return where prepared rows are kept.

    It is beside the caches of `datasets`, not in the folder of the data: that may be read-only, or committed.
    """
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "hf_finetune"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prepare_split(
    source: datasets.Dataset, column: str, preparation: Preparation, *, name: str, num_proc: int | None
) -> PreparedSplit:
    """Prepare a split, or find it prepared.

    Args:
        source: The split.
        column: Its input column.
        preparation: What to do with each value.
        name: Of the split, for the progress bar.
        num_proc: Processes; None works in this one.
    """
    feature = source.features[column]
    if getattr(feature, "decode", False):
        source = source.cast_column(column, type(feature)(decode=False))
    preparation = replace(preparation, key=preparation.key + hash_bounds(source, column))
    fingerprint = Hasher.hash([source._fingerprint, column, preparation.key])
    # of the other columns some may not be decodable here: sounds need torchcodec for it
    cached = map_once(
        source.select_columns([column]).with_format(None),
        preparation.function,
        features=preparation.features,
        chunk=CHUNK,
        num_proc=num_proc,
        fingerprint=fingerprint,
        title=f"Preparing {name}",
    )
    return PreparedSplit(source=source, cached=cached, column=column)


def map_once(
    rows: datasets.Dataset,
    function: Callable[[list[Any]], dict[str, list[Any]]],
    *,
    features: datasets.Features,
    chunk: int,
    num_proc: int | None,
    fingerprint: str,
    title: str,
) -> datasets.Dataset:
    """Replace the one column of a data set by what a function makes of it, or find that on disk.

    Args:
        rows: With the one column.
        function: Values of the column -> columns.
        features: Of these columns.
        chunk: Values that the function is given at a time.
        num_proc: Processes; None works in this one.
        fingerprint: Of all that the result depends on; the name of its file.
        title: For the progress bar.
    """
    (column,) = rows.column_names
    return rows.map(
        function,
        input_columns=column,
        remove_columns=column,
        features=features,
        batched=True,
        batch_size=chunk,
        writer_batch_size=chunk,
        num_proc=num_proc if num_proc and len(rows) > chunk else None,
        cache_file_name=str(_cache_folder() / f"{fingerprint}.arrow"),
        load_from_cache_file=True,
        new_fingerprint=fingerprint,
        desc=title,
    )


def forget(prepared: PreparedSplit) -> None:
    """Remove the cache of a split, so that repaired files are read again."""
    for file in prepared.cached.cache_files:
        Path(file["filename"]).unlink(missing_ok=True)
