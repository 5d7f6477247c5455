"""Where predictions go: JSON lines, csv or parquet, row by row; a file appears when it is whole."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, get_args

import pyarrow as pa

from hf_finetune.errors import UserError
from hf_finetune.tables import TableWriter, to_table

__all__ = ["FORMATS", "Format", "Output"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
CHUNK = 1000


class Output:
    """Writes answers as they come.

    Args:
        path: The file; None is standard output.
        kind: How; by the suffix of the path when left out, JSON lines on standard output.
        overwrite: Replace a file that is there.

    Attributes:
        types: Name of an answer -> its type in parquet, of those that are known; others are found out.

    Raises:
        UserError: The file is there, its folder is not, or nothing says which format it is.
    """

    def __init__(self, path: Path | None, *, kind: str | None = None, overwrite: bool = False) -> None:
        if path is not None:
            _require_room(path, overwrite=overwrite)
        self.path, self.kind = path, _choose_format(path, kind)
        self.num_rows = 0
        self.types: Mapping[str, pa.DataType] = {}
        self._part = path.with_name(f"{path.name}.part") if path is not None else None
        self._sink: IO[str] | None = None
        self._table: TableWriter | None = None
        self._header: list[str] = []
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Output:
        if self.kind != "parquet":
            self._sink = (
                sys.stdout if self._part is None else self._part.open("w", encoding="utf-8", newline="")
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_whole = False
        try:
            if error is None:
                self._write_table()
            for sink in (self._table, self._sink if self._part is not None else None):
                if sink is not None:
                    sink.close()
            is_whole = error is None
        finally:
            if self._part is not None and self._part.exists():
                if is_whole and self.num_rows and self.path is not None:
                    self._part.replace(self.path)
                else:
                    self._part.unlink()

    def write(self, answer: Mapping[str, Any]) -> None:
        """Write one row."""
        self.num_rows += 1
        if self.kind == "parquet":
            self._waiting.append(dict(answer))
            if len(self._waiting) >= CHUNK:
                self._write_table()
        elif self.kind == "csv":
            self._write_csv(answer)
        elif self._sink is not None:
            self._sink.write(json.dumps(answer, ensure_ascii=False) + "\n")

    def _write_csv(self, answer: Mapping[str, Any]) -> None:
        flat = _flatten(answer)
        writer = csv.writer(self._sink, lineterminator="\n")  # type: ignore[arg-type]
        if not self._header:
            self._header = list(flat)
            writer.writerow(self._header)
        further = [name for name in flat if name not in self._header]
        if further:
            raise UserError(
                f"row {self.num_rows - 1} has a column that the first row has not: {', '.join(further)}",
                todo="The header of a csv is written first: write --format jsonl or parquet.",
            )
        writer.writerow([flat.get(name, "") for name in self._header])

    def _write_table(self) -> None:
        if not self._waiting or self._part is None:
            return
        if self._table is None:
            self._table = TableWriter(self._part)
        self._table.write_table(to_table(self._waiting, self.types))
        self._waiting = []


def _choose_format(path: Path | None, kind: str | None) -> Format:
    if kind is None:
        kind = "jsonl" if path is None else SUFFIXES.get(path.suffix.lower())
    if kind not in FORMATS:
        what = f"{path} is of no known format" if kind is None else f"there is no format {kind!r}"
        raise UserError(what, todo=f"Say --format, one of: {', '.join(FORMATS)}")
    if path is None and kind == "parquet":
        raise UserError("parquet cannot go to the terminal", todo="Say --output FILE.parquet.")
    return kind


def _require_room(path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UserError("this is a folder", where=str(path), todo="Name the file that the predictions go to.")
    if path.exists() and not overwrite:
        raise UserError(
            "the file is there", where=str(path), todo="Replace it by --overwrite, or name another."
        )
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", where=str(path), todo="Make it first.")


def _flatten(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Give each class its own column; lists are written as JSON.

    Example:
        >>> _flatten({"prediction": ["red"], "probabilities": {"red": 0.75}})
        {'prediction': '["red"]', 'probabilities.red': 0.75}
    """
    flat: dict[str, Any] = {}
    for name, value in answer.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    return flat
