"""Model inputs that are slow to make, such as spectrograms: made once and kept on disk."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
from datasets.fingerprint import Hasher

from hf_finetune.data.cache import Key
from hf_finetune.data.prepare import map_once
from hf_finetune.data.rows import RawRows
from hf_finetune.tasks.values import Transform

__all__ = ["KeptInputs", "keep_inputs"]

logger = logging.getLogger(__name__)

CHUNK = 16
MAX_BYTES = 20e9
"""Of a split's inputs; more is made anew each time rather than filling a disk unasked."""


class KeptInputs:
    """Model inputs of a split on disk.

    Args:
        cached: A row for each row of the split: bytes and shape of each input.
        dtypes: Name of each input -> its type.
    """

    def __init__(self, cached: datasets.Dataset, dtypes: dict[str, np.dtype[Any]]) -> None:
        self._rows = cached  # marks the files as being read
        self._cached, self._dtypes = cached.with_format("arrow"), dtypes

    def take(self, indices: Sequence[int]) -> dict[str, list[torch.Tensor]]:
        """Return the inputs of some rows, as the transform made them."""
        table = self._cached[list(indices)]
        inputs = {}
        for name, dtype in self._dtypes.items():
            shapes = table[f"{name}_shape"].to_pylist()
            raw = [np.frombuffer(content.as_buffer(), dtype) for content in table[name]]
            inputs[name] = [
                torch.from_numpy(flat.reshape(shape).copy()) for flat, shape in zip(raw, shapes, strict=True)
            ]
        return inputs


def keep_inputs(raw: RawRows, transform: Transform, *, name: str, num_proc: int | None) -> KeptInputs | None:
    """Make the inputs of a split that is not augmented, or find them made.

    Args:
        raw: The rows.
        transform: With a `key` that says all that its results depend on, where they are worth keeping.
        name: Of the split, for the progress bar.
        num_proc: Processes; None works in this one.

    Returns:
        None where the inputs are not worth keeping, or too large.
    """
    key = getattr(transform, "key", "")
    if not key:
        return None
    first = {k: [np.asarray(v) for v in values] for k, values in transform(raw.decode(raw.rows[:4])).items()}
    num_bytes = sum(v.nbytes for values in first.values() for v in values) / len(next(iter(first.values())))
    if num_bytes * len(raw) > MAX_BYTES:
        logger.info("%s: the model inputs would take %.0f GB: not kept", name, num_bytes * len(raw) / 1e9)
        return None
    columns: dict[str, Any] = {}
    for column in first:
        columns[column] = datasets.Value("large_binary")
        columns[f"{column}_shape"] = datasets.List(datasets.Value("int64"))
    split = raw.split
    made = map_once(
        datasets.Dataset.from_dict({"row": raw.rows}),
        partial(_make, raw=raw, transform=transform),
        features=datasets.Features(columns),
        chunk=CHUNK,
        num_proc=num_proc,
        key=Key(
            table=Hasher.hash([split.table, raw.rows.tobytes(), key]),
            source=split.stamp,
            name=f"the inputs of {name}",
            place=split.place,
        ),
        title=f"Making the inputs of {name}",
    )
    return KeptInputs(made.rows, {column: values[0].dtype for column, values in first.items()})


def _make(numbers: Sequence[int], *, raw: RawRows, transform: Transform) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for name, values in transform(raw.decode(np.asarray(numbers))).items():
        arrays = [np.asarray(value) for value in values]
        columns[name] = [array.tobytes() for array in arrays]
        columns[f"{name}_shape"] = [list(array.shape) for array in arrays]
    return columns
