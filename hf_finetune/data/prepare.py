"""Decode and check the input column of a split once; the result is kept on disk, see `cache`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
from datasets.fingerprint import Hasher

from hf_finetune.data.cache import Kept, Key, keep
from hf_finetune.data.cuts import hash_bounds
from hf_finetune.data.file_states import list_names, read_states
from hf_finetune.tasks.values import Preparation

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["PreparedSplit", "map_once", "prepare_split"]

CHUNK = 256
"""Rows prepared at a time: at most 12 MB of raw pixels."""
MAX_RETRIES = 64
"""Rows that could not be used before and are tried again: whatever hinders many hinders the first."""


@dataclass(frozen=True, kw_only=True)
class PreparedSplit:
    """A split with its prepared input, row by row the same.

    Args:
        source: The split as it was loaded; nothing in it is decoded.
        cached: What the preparation made of its input column.
        column: The input column of `source`.
        place: Of the data, for messages.
        table: Names `cached`, whatever is in its files.
        stamp: Another one each time `cached` is made.
    """

    source: datasets.Dataset
    cached: datasets.Dataset
    column: str
    place: str
    table: str
    stamp: str

    def find_problems(self) -> list[tuple[int, str]]:
        """List the rows that cannot be used: (row, reason)."""
        problems = self._column("problem")
        rows = np.flatnonzero(np.asarray(problems.is_valid()))
        return [(int(row), problems[int(row)].as_py()) for row in rows]

    def digests(self) -> np.ndarray:
        """Return int64 [N] that identify the content of every row, the same on every machine.

        Each is 64 bits of BLAKE2b over the whole content: all pixels of a picture as they are decoded, or all
        bytes of a sound file. No name, no time and no place of a file is in it, so a copy has the same.
        """
        digests: np.ndarray = self._column("digest").to_numpy()
        return digests

    def shapes(self) -> np.ndarray:
        """Return int64 [N] that tell apart inputs of the same bytes and another shape: 2 x 3 and 3 x 2."""
        names = [name for name in ("height", "width", "length") if name in self.cached.column_names]
        columns = [self._column(name).to_numpy().astype(np.int64) for name in names]
        return sum(
            (column << 32 * i for i, column in enumerate(columns)), np.zeros(len(self.cached), np.int64)
        )

    def lengths(self) -> np.ndarray | None:
        """Return int64 [N], the length of every row's input; None where it has none, as images have none."""
        return self._column("length").to_numpy() if "length" in self.cached.column_names else None

    def _column(self, name: str) -> Any:
        return self.cached.with_format("arrow")[:][name]


def prepare_split(
    source: datasets.Dataset,
    column: str,
    preparation: Preparation,
    *,
    name: str,
    expression: str,
    recipe: Recipe,
) -> PreparedSplit:
    """Prepare a split, or find it prepared from the very same files.

    Args:
        source: The split.
        column: Its input column.
        preparation: What to do with each value.
        name: Of the split, for messages.
        expression: Which split of the data set it is, such as "train[:90%]".
        recipe: Reads `data`.

    Raises:
        DataError: The rows cannot be kept.
    """
    feature = source.features[column]
    if getattr(feature, "decode", False):
        source = source.cast_column(column, type(feature)(decode=False))
    preparation = replace(preparation, key=preparation.key + hash_bounds(source, column))
    # of the other columns some may not be decodable here: sounds need torchcodec for it
    values = source.select_columns([column]).with_format(None)
    key = _build_key(values, preparation, name=name, expression=expression, recipe=recipe)

    def retry(cached: datasets.Dataset) -> str:
        """Say how many rows can be used by now: a network or a library may be back."""
        problems = cached.with_format("arrow")[:]["problem"]
        rows = np.flatnonzero(np.asarray(problems.is_valid()))[:MAX_RETRIES]
        now = preparation.function(list(values[rows][column]))["problem"] if len(rows) else []
        num = now.count(None)
        what = "rows" if num > 1 else "row"
        return f"{num} {what} of {key.place} that could not be used can be now" if num else ""

    made = map_once(
        values,
        preparation.function,
        features=preparation.features,
        chunk=CHUNK,
        num_proc=recipe.data.num_proc,
        key=key,
        judge=retry,
    )
    return PreparedSplit(
        source=source, cached=made.rows, column=column, place=key.place, table=key.table, stamp=made.stamp
    )


def map_once(
    rows: datasets.Dataset,
    function: Callable[[list[Any]], dict[str, list[Any]]],
    *,
    features: datasets.Features,
    chunk: int,
    num_proc: int | None,
    key: Key,
    title: str | None = None,
    judge: Callable[[datasets.Dataset], str] | None = None,
) -> Kept:
    """Replace the one column of a data set by what a function makes of it, or find that on disk.

    Args:
        rows: With the one column.
        function: Values of the column -> columns.
        features: Of these columns.
        chunk: Values that the function is given at a time.
        num_proc: Processes; None works in this one.
        key: Says all that the result depends on.
        title: For the progress bar.
        judge: Says why what is on disk is not right after all; empty where it is.
    """
    (column,) = rows.column_names

    def make(folder: Path) -> datasets.Dataset:
        return rows.map(
            function,
            input_columns=column,
            remove_columns=column,
            features=features,
            batched=True,
            batch_size=chunk,
            writer_batch_size=chunk,
            num_proc=num_proc if num_proc and len(rows) > chunk else None,
            cache_file_name=str(folder / "rows.arrow"),
            load_from_cache_file=False,
            new_fingerprint=Hasher.hash([key.table, key.source, str(folder)]),
            desc=title or f"Preparing {key.name}",
        )

    return keep(key, make, num_rows=len(rows), judge=judge)


def _build_key(
    values: datasets.Dataset, preparation: Preparation, *, name: str, expression: str, recipe: Recipe
) -> Key:
    """Say what the prepared rows depend on.

    Args:
        values: The input column alone.
        preparation: What is done to it.
        name: Of the split.
        expression: Of the split.
        recipe: Reads `data`.
    """
    spec = recipe.data
    (column,) = values.column_names
    place = (
        str(Path(spec.path).expanduser().resolve()) if Path(spec.path).expanduser().exists() else spec.path
    )
    told = [place, spec.name, spec.revision, spec.data_dir, spec.data_files, spec.options]
    content = values.with_format("arrow")[:][column]
    names = list_names(content)
    source = [preparation.key, spec.compare_files, column, len(values), _hash_names(names)]
    if names is None or (pa.types.is_struct(content.type) and None in names):
        # content within the table: the table's own files say whether it is the same
        files = [os.stat(str(one["filename"])) for one in values.cache_files]
        source += [values._fingerprint, [(one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in files]]
    return Key(
        table=Hasher.hash([told, expression, column, preparation.key]),
        source=Hasher.hash(source),
        name=name,
        place=spec.path,
        states=None if names is None else read_states(names, preparation.folders, spec.compare_files),
        compare=spec.compare_files,
    )


def _hash_names(names: list[str | None] | None) -> str:
    told = "\0".join("\1" if name is None else name for name in names or ())
    return hashlib.blake2b(told.encode(errors="surrogatepass"), digest_size=16).hexdigest()
