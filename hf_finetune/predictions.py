"""Predictions of a split, written batch by batch: memory does not grow with the number of rows."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hf_finetune.atomic_io import give_name, make_folder
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Space

__all__ = ["PredictionWriter", "write_worst"]

MAX_WORST = 24


@dataclass
class PredictionWriter:
    """Write `row, label, prediction, ...` to parquet, and remember the worst mistakes.

    Args:
        path: Where the parquet file goes; it appears when the writer is closed without an error.
        task: Says which columns there are beside the row, and how bad a mistake is.
        space: What the model can say.
        facts: Further columns, of all rows: the length of a clip, a group.
    """

    path: Path
    task: Task
    space: Space
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    num_rows: int = 0
    worst: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    _writer: pq.ParquetWriter | None = None

    def __enter__(self) -> PredictionWriter:
        make_folder(self.path.parent)
        return self

    def __call__(self, reduced: Mapping[str, np.ndarray]) -> None:
        """Take one gathered batch: what the task's reduce and decode left, and "labels"."""
        columns, badness = self.task.tabulate(reduced, self.space)
        num_new = len(badness)
        stop = self.num_rows + num_new
        facts = {name: list(values[self.num_rows : stop]) for name, values in self.facts.items()}
        columns = {"row": list(range(self.num_rows, stop)), **columns, **facts}
        table = pa.table(columns)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part, table.schema)
        self._writer.write_table(table.cast(self._writer.schema))
        for i in np.flatnonzero(badness > 0):
            entry = (
                float(badness[i]),
                -columns["row"][i],
                {name: values[i] for name, values in columns.items()},
            )
            (heapq.heappush if len(self.worst) < MAX_WORST else heapq.heappushpop)(self.worst, entry)
        self.num_rows += num_new

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        is_whole = False
        try:
            self._writer.close()  # writes the rest, for which the disk may have no room
            is_whole = error is None
        finally:
            if is_whole:
                give_name(self._part, self.path)
            else:
                self._part.unlink(missing_ok=True)

    @property
    def _part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")


def write_worst(
    path: Path,
    worst: list[tuple[float, int, dict[str, Any]]],
    rows_of_split: Any,
    thumbnail: Callable[[Any], Image.Image],
    sound: Callable[[Any], bytes | None] = lambda row: None,
) -> None:
    """Write the worst mistakes with their pictures and sounds, worst first.

    Args:
        path: The parquet file.
        worst: As a `PredictionWriter` kept them.
        rows_of_split: Row number -> decoded row.
        thumbnail: Decoded row -> picture.
        sound: Decoded row -> the bytes of a sound file; None where there is nothing to hear.
    """
    rows = [entry for _, _, entry in sorted(worst, key=lambda item: item[:2], reverse=True)]
    if rows:
        make_folder(path.parent)
        for row in rows:
            decoded = rows_of_split[row["row"]]
            row["image"], row["audio"] = _png(thumbnail(decoded)), sound(decoded)
        table = pa.Table.from_pylist(rows)
        silent = table.column("audio").null_count == len(rows)
        part = path.with_name(f"{path.name}.part")
        pq.write_table(table.drop_columns("audio") if silent else table, part)
        give_name(part, path)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
