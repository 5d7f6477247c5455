"""Decode and check the input column of a split once; `datasets` keeps the result on disk."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.fingerprint import Hasher

from hf_finetune.tasks.values import Preparation

__all__ = ["PreparedSplit", "cache_folder", "forget", "prepare_split"]

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


def cache_folder() -> Path:
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
    fingerprint = Hasher.hash([source._fingerprint, column, preparation.key])
    # of the other columns some may not be decodable here: sounds need torchcodec for it
    cached = (
        source.select_columns([column])
        .with_format(None)
        .map(
            preparation.function,
            input_columns=column,
            remove_columns=column,
            features=preparation.features,
            batched=True,
            batch_size=CHUNK,
            writer_batch_size=CHUNK,
            num_proc=num_proc if num_proc and len(source) > CHUNK else None,
            cache_file_name=str(cache_folder() / f"{fingerprint}.arrow"),
            load_from_cache_file=True,
            new_fingerprint=fingerprint,
            desc=f"Preparing {name}",
        )
    )
    return PreparedSplit(source=source, cached=cached, column=column)


def forget(prepared: PreparedSplit) -> None:
    """Remove the cache of a split, so that repaired files are read again."""
    for file in prepared.cached.cache_files:
        Path(file["filename"]).unlink(missing_ok=True)
