"""Predictions of a split, written batch by batch: memory does not grow with the number of rows."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from hf_finetune.atomic_io import give_name, make_folder
from hf_finetune.errors import Interrupted
from hf_finetune.tables import TableWriter, to_table
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Space

__all__ = ["PredictionWriter", "write_worst"]

MAX_WORST = 24


@dataclass
class PredictionWriter:
    """Write `row, label, prediction, ...` to parquet, and remember the worst mistakes.

    An evaluation is worth more than its table: what goes wrong with the table costs no score. It is kept in
    `failure`, and there is then no file.

    Args:
        path: Where the parquet file goes; it appears when the writer is closed without an error.
        task: Says which columns there are beside the row, and how bad a mistake is.
        space: What the model can say.
        facts: Returns further columns, of all rows: the length of a clip, a group.

    Attributes:
        failure: Why there is no table; None where there is one.
    """

    path: Path
    task: Task
    space: Space
    facts: Callable[[], Mapping[str, Sequence[Any]]] = dict
    num_rows: int = 0
    worst: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    failure: Exception | None = None
    _writer: TableWriter | None = None
    _facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __enter__(self) -> PredictionWriter:
        with self._surviving():
            make_folder(self.path.parent)
            self._facts = self.facts()
            of_facts = {name: pa.array(values).type for name, values in self._facts.items()}
            self._writer = TableWriter(self._part, {**self.task.table_types(self.space), **of_facts})
        return self

    def __call__(self, reduced: Mapping[str, np.ndarray]) -> None:
        """Take one gathered batch: what the task's reduce and decode left, and "labels"."""
        if self.failure is None:
            with self._surviving():
                self._take(reduced)

    def _take(self, reduced: Mapping[str, np.ndarray]) -> None:
        columns, badness = self.task.tabulate(reduced, self.space)
        num_new = len(badness)
        stop = self.num_rows + num_new
        facts = {name: list(values[self.num_rows : stop]) for name, values in self._facts.items()}
        columns = {"row": list(range(self.num_rows, stop)), **columns, **facts}
        if self._writer is not None:
            self._writer.write(columns)
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
        with self._surviving():
            if self._writer is not None:
                self._writer.close()  # writes the rest, for which the disk may have no room
        if error is None and self.failure is None and self.num_rows:
            with self._surviving():
                give_name(self._part, self.path)
        else:
            with self._surviving():
                self._part.unlink(missing_ok=True)
            if error is None:  # those of an earlier run are not what the scores are of
                with self._surviving():
                    self.path.unlink(missing_ok=True)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Keep the first thing that goes wrong; what is asked to stop does."""
        try:
            yield
        except Interrupted:
            raise
        except Exception as error:
            self.failure = self.failure or error

    @property
    def _part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")


def write_worst(
    path: Path,
    worst: list[tuple[float, int, dict[str, Any]]],
    rows_of_split: Any,
    thumbnail: Callable[[Any], Image.Image],
    sound: Callable[[Any], bytes | None] = lambda row: None,
    types: Mapping[str, pa.DataType] | None = None,
) -> None:
    """Write the worst mistakes with their pictures and sounds, worst first.

    Args:
        path: The parquet file.
        worst: As a `PredictionWriter` kept them.
        rows_of_split: Row number -> decoded row.
        thumbnail: Decoded row -> picture.
        sound: Decoded row -> the bytes of a sound file; None where there is nothing to hear.
        types: Name of a column -> its type, of those that are known.
    """
    rows = [entry for _, _, entry in sorted(worst, key=lambda item: item[:2], reverse=True)]
    path.unlink(missing_ok=True)  # of an earlier run
    if rows:
        make_folder(path.parent)
        for row in rows:
            decoded = rows_of_split[row["row"]]
            row["image"], row["audio"] = _png(thumbnail(decoded)), sound(decoded)
        table = to_table(rows, types)
        silent = table.column("audio").null_count == len(rows)
        part = path.with_name(f"{path.name}.part")
        pq.write_table(table.drop_columns("audio") if silent else table, part)
        give_name(part, path)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
