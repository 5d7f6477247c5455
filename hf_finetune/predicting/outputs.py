"""Where predictions go: JSON lines, csv or parquet, row by row; a file appears when it is whole."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO, get_args

import pyarrow as pa

from hf_finetune.errors import UserError
from hf_finetune.predicting.places import Place
from hf_finetune.secrecy import escape_controls, hide_secrets
from hf_finetune.tables import TableWriter, to_table

__all__ = ["FORMATS", "Format", "Output"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"}
CHUNK = 1000
FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet would compute; the last four are the wide forms of the first."""
NOT_IN_JSON = re.compile(r"[\x7f-\x9f\ud800-\udfff]")
"""What `json` leaves as it is: a terminal obeys some of it, and the rest has no UTF-8."""


class Output:
    """Writes answers as they come, without secrets and control characters in the names of files.

    Args:
        path: The file; None is standard output.
        kind: How; by the suffix of the path when left out, JSON lines on standard output and devices.
        overwrite: Replace a file that is there.
        csv_safe: Let no cell of a csv begin as a formula of a spreadsheet does: `'` is put before it.

    Attributes:
        types: Name of an answer -> its type in parquet, of those that are known; others are found out.

    Raises:
        UserError: The file is there, its folder is not, or nothing says which format it is.
    """

    def __init__(
        self, path: Path | None, *, kind: str | None = None, overwrite: bool = False, csv_safe: bool = False
    ) -> None:
        self.place = Place(path, overwrite=overwrite)
        self.kind = _choose_format(path, kind, is_stream=self.place.is_stream)
        if csv_safe and self.kind != "csv":
            raise UserError(f"--csv-safe is for csv, and this is {self.kind}", todo="Leave it out.")
        self.csv_safe = csv_safe
        self.num_rows = 0
        self.types: Mapping[str, pa.DataType] = {}
        self._sink: TextIO | None = None
        self._table: TableWriter | None = None
        self._header: list[str] = []
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Output:
        with self.place.explaining():
            if self.kind == "parquet":
                self._part = self.place.make_part()
            else:
                self._sink = self.place.open_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self.place.explaining() if error is None else suppress(OSError):
                try:
                    if error is None:
                        self._write_table()
                finally:
                    for sink in (self._table, self._sink if self.place.path is not None else None):
                        if sink is not None:
                            sink.close()
                if error is None and self.num_rows:
                    self.place.finish()
        finally:
            self.place.discard()

    def write(self, answer: Mapping[str, Any]) -> None:
        """Write one row.

        Raises:
            UserError: The disk is full, or nobody reads any more.
        """
        self.num_rows += 1
        if isinstance(answer.get("file"), str):
            answer = {**answer, "file": hide_secrets(answer["file"])}
        with self.place.explaining():
            if self.kind == "jsonl":
                self._write_line(answer)
            elif self.kind == "csv":
                self._write_csv(_clean(answer))
            else:
                self._waiting.append(_clean(answer))
                if len(self._waiting) >= CHUNK:
                    self._write_table()

    def _write_line(self, answer: Mapping[str, Any]) -> None:
        assert self._sink is not None
        is_ascii = not str(self._sink.encoding).lower().startswith("utf")
        line = json.dumps(answer, ensure_ascii=is_ascii)
        self._sink.write(NOT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", line) + "\n")

    def _write_csv(self, answer: Mapping[str, Any]) -> None:
        flat = _flatten(answer)
        writer = csv.writer(self._sink, lineterminator="\n")  # type: ignore[arg-type]
        if not self._header:
            self._header = list(flat)
            writer.writerow(map(self._as_cell, self._header))
        further = [name for name in flat if name not in self._header]
        if further:
            raise UserError(
                f"row {self.num_rows - 1} has a column that the first row has not: {', '.join(further)}",
                todo="The header of a csv is written first: write --format jsonl or parquet.",
            )
        writer.writerow([self._as_cell(flat.get(name, "")) for name in self._header])

    def _as_cell(self, value: Any) -> Any:
        return f"'{value}" if self.csv_safe and isinstance(value, str) and FORMULA.match(value) else value

    def _write_table(self) -> None:
        if not self._waiting:
            return
        if self._table is None:
            self._table = TableWriter(self._part)
        self._table.write_table(to_table(self._waiting, self.types))
        self._waiting = []


def _choose_format(path: Path | None, kind: str | None, *, is_stream: bool) -> Format:
    if kind is None:
        kind = SUFFIXES.get(path.suffix.lower()) if path is not None else None
        kind = "jsonl" if kind is None and is_stream else kind
    if kind not in FORMATS:
        what = f"{path} is of no known format" if kind is None else f"there is no format {kind!r}"
        raise UserError(what, todo=f"Say --format, one of: {', '.join(FORMATS)}")
    if path is None and kind == "parquet":
        raise UserError("parquet cannot go to the terminal", todo="Say --output FILE.parquet.")
    return kind


def _clean(answer: Mapping[str, Any]) -> dict[str, Any]:
    r"""Write control characters as text: JSON has a way of its own, csv and parquet have none.

    Example:
        >>> _clean({"file": "a\n\0.png", "prediction": "one\ntwo\0", "probability": 0.5})
        {'file': 'a\\x0a\\x00.png', 'prediction': 'one\ntwo\\x00', 'probability': 0.5}
    """

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return escape_controls(value, keep="\n\t")
        if isinstance(value, Mapping):
            return {clean(key): clean(item) for key, item in value.items()}
        return [clean(item) for item in value] if isinstance(value, list) else value

    cleaned: dict[str, Any] = clean(answer)
    return cleaned | (
        {"file": escape_controls(answer["file"])} if isinstance(answer.get("file"), str) else {}
    )


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
