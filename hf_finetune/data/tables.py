"""Tables on disk: which files they are, how a csv is to be read, and what would be lost without a word.

A csv says nothing of how it is written. Read with the wrong separator it has one column, and without a header
its first row is taken for one; both are found here, before `datasets` reads the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from hf_finetune.data.kinds import MEDIA
from hf_finetune.data.layout import find_split, order_splits
from hf_finetune.errors import DataError
from hf_finetune.formatting import list_some

__all__ = ["check_csv", "check_json", "choose_separator", "divide_tables"]

SHARD = re.compile(r"(?:.*/)?data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
"""How `push_to_hub` and `datasets` name the files of a split."""
SEPARATORS = {",": "','", ";": "';'", "\t": '"\\t"', "|": "'|'"}
USUAL_NAMES = frozenset(
    {"answer", "audio", "category", "class", "file", "file_name", "filename", "id", "image", "img", "label"}
    | {
        "labels",
        "name",
        "path",
        "score",
        "sentence",
        "split",
        "target",
        "text",
        "transcript",
        "transcription",
    }
)
HEADER_OPTIONS = {"column_names", "comment", "header", "names", "skiprows"}
NUM_LINES = 1000
"""Lines at the beginning of a csv that are looked at."""


def divide_tables(
    names: Sequence[str], *, what: str, where: str, takes_options: bool
) -> dict[str, list[str]]:
    """Find out which tables of a folder are which split: by the folders they are in, or their own names.

    Args:
        names: The tables, relative to the folder.
        what: The folder, for messages.
        where: Its place in the recipe.
        takes_options: Whether there is a recipe in which files can be named.

    Raises:
        DataError: Some have the name of a split and others have none: `datasets` would leave those out.
    """
    shards = [SHARD.fullmatch(name) for name in names]
    found: dict[str, list[str]] = {}
    for name, shard in zip(names, shards, strict=True):
        path = PurePosixPath(name)
        of_folders = next(filter(None, map(find_split, path.parts[:-1])), None)
        split = shard[1] if shard and all(shards) else of_folders or find_split(path.name.partition(".")[0])
        found.setdefault(split or "", []).append(name)
    others = found.pop("", [])
    if others and found:
        named = [name for of_split in found.values() for name in of_split]
        example = found | ({} if "train" in found else {"train": others})
        listed = ", ".join(
            f"{split}: [{', '.join(map(_quote, example[split][:3]))}]" for split in order_splits(example)
        )
        raise DataError(
            f"{what}: some files have the name of a split ({list_some(named, 3)}), "
            f"others have none ({list_some(others, 3)})",
            where=where,
            todo=f"Name the files of each split: data: {{data_files: {{{listed}}}}}."
            if takes_options
            else "Name one of the files.",
        )
    return {split: found[split] for split in order_splits(found)} if found else {"train": others}


def choose_separator(paths: Sequence[str], options: Mapping[str, Any], *, where: str) -> dict[str, str]:
    """Return the option that `datasets` needs to read files of tab-separated values, where they are that.

    Raises:
        DataError: There are others beside them: all are read in one way.
    """
    if {"sep", "delimiter"} & options.keys():
        return {}
    tabbed = [path for path in paths if ".tsv" in (s.lower() for s in PurePosixPath(path).suffixes)]
    if tabbed and len(tabbed) < len(paths):
        other = next(path for path in paths if path not in set(tabbed))
        raise DataError(
            f"{Path(tabbed[0]).name} is separated by tabs and {Path(other).name} by commas",
            where=where,
            todo="Save all tables in one format, or name those of one format in data.data_files.",
        )
    return {"sep": "\t"} if tabbed else {}


def check_csv(
    paths: Sequence[str],
    options: Mapping[str, Any],
    *,
    columns: Sequence[str],
    roles: Sequence[str],
    exists: Callable[[str], bool],
    takes_options: bool = True,
) -> None:
    """Refuse a csv that would be read with the wrong separator, or whose first row would be lost.

    Args:
        paths: Of the files.
        options: Of the csv builder, as they will be used.
        columns: Names that the recipe speaks of: a header has them.
        roles: Of the task, to show how columns are named.
        exists: Whether a cell is the name of a file.
        takes_options: Whether there is a recipe in which options can be given.

    Raises:
        DataError: Names the file, and says what to do.
    """
    sep = str(options.get("delimiter") or options.get("sep") or ",")
    for path in paths:
        lines = list(islice(_read(path, sep, options), NUM_LINES)) if len(sep) == 1 else []
        if not lines:
            continue
        header, rows = lines[0], lines[1:]
        _check_separator(path, header, rows, sep, takes_options)
        _check_quotes(path, sep, options, exists, takes_options)
        if HEADER_OPTIONS & options.keys() or set(columns) & set(header):
            continue
        if rows and len(rows[0]) > len(header) > 1 and not {"index_col", "usecols"} & options.keys():
            raise DataError(
                f"its rows have {len(rows[0])} cells, and its first line names {len(header)} columns",
                where=path,
                todo="Name them all; else the first cells would be taken for the numbers of the rows.",
            )
        cell = _find_data(header, rows, exists)
        if cell is not None:
            names = _suggest_names(header, roles, exists)
            first = f"Write a first line with the names of the columns, such as '{sep.join(names)}'"
            todo = (
                f"{first}, or say data: {{options: {{names: [{', '.join(names)}]}}}}."
                if takes_options
                else f"{first}."
            )
            raise DataError(
                f"it has no header: its first line is a row ({cell!r} {_why(cell, exists)})",
                where=path,
                todo=todo,
            )


def check_json(loaded: Mapping[str, Any], *, where: str) -> None:
    """Refuse a file that is one row because all rows are in a list of it.

    Raises:
        DataError: Names the list.
    """
    for split, rows in loaded.items():
        for column, feature in rows.features.items():
            if len(rows) == 1 and isinstance(getattr(feature, "feature", None), dict):
                raise DataError(
                    f"the split {split!r} is a single row: its column {column!r} is a list of rows",
                    where=where,
                    todo=f"Say so: data: {{options: {{field: {column}}}}}.",
                )


def _read(path: str, sep: str, options: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the lines of a csv as cells; nothing of a file that is not plain text."""
    encoding = str(options.get("encoding") or "utf-8")
    encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    with open(path, "rb") as raw:
        if raw.read(2) in (b"\x1f\x8b", b"PK", b"BZ", b"\xfd7"):
            return
    try:
        with open(path, encoding=encoding, errors="replace", newline="") as file:
            rows = csv.reader(file, delimiter=sep, quoting=3 if options.get("quoting") == 3 else 0)
            yield from filter(None, rows)
    except (LookupError, csv.Error):
        return


def _check_separator(
    path: str, header: list[str], rows: list[list[str]], sep: str, takes_options: bool
) -> None:
    if len(header) > 1:
        return
    for other, written in SEPARATORS.items():
        count = header[0].count(other)
        # the rows may hold the true separator and the wrong one: "a.png;1,5"
        if other != sep and count and all(sep.join(row).count(other) >= count for row in rows[:100]):
            option = f"or say data: {{options: {{sep: {written}}}}}" if takes_options else "and name that"
            raise DataError(
                f"read with {SEPARATORS.get(sep, sep)} between its columns it has only one, {header[0]!r}",
                where=path,
                todo=f"Save it with {SEPARATORS.get(sep, sep)} between them, {option}.",
            )


def _check_quotes(
    path: str, sep: str, options: Mapping[str, Any], exists: Callable[[str], bool], takes_options: bool
) -> None:
    """Refuse a cell that has whole rows in it: a quotation mark opens it that was meant as text."""
    with open(path, "rb") as raw:
        if not any(b'"' in block for block in iter(lambda: raw.read(1 << 20), b"")):
            return
    for number, row in enumerate(_read(path, sep, options), 1):
        for cell in row:
            lost = [line for line in cell.split("\n")[1:] if any(map(_is_file_name, line.split(sep)))]
            if lost or any(exists(part) for line in cell.split("\n")[1:] for part in line.split(sep)):
                raise DataError(
                    f"the cell that begins with {cell[:20].partition(chr(10))[0]!r} has other rows in it, "
                    "because of the quotation mark before it",
                    where=f"{path}, row {number} with the header",
                    todo="Write each quotation mark of a text twice, and others around the text"
                    + (
                        ", or say data: {options: {quoting: 3}} to take them as text."
                        if takes_options
                        else "."
                    ),
                )


def _find_data(header: list[str], rows: list[list[str]], exists: Callable[[str], bool]) -> str | None:
    """Return a cell of the first line that can only be a row's: the name of a file, or a value of its column.

    A line that stands there twice is a header that was copied with its rows.
    """
    for cell in header:
        if _is_file_name(cell) or exists(cell):
            return cell
    is_named = any(cell.strip().lower() in USUAL_NAMES for cell in header)
    if is_named or header in rows:
        return None
    for i, cell in enumerate(header):
        is_fraction = re.fullmatch(r"[-+]?\d*\.\d+(e[-+]?\d+)?", cell.strip(), re.IGNORECASE)
        if is_fraction or (cell and not cell.isdigit() and any(row[i : i + 1] == [cell] for row in rows)):
            return cell
    return None


def _is_file_name(cell: str) -> bool:
    suffix = PurePosixPath(cell.strip()).suffix.lower()
    return any(suffix in suffixes for suffixes in MEDIA.values())


def _why(cell: str, exists: Callable[[str], bool]) -> str:
    if _is_file_name(cell) or exists(cell):
        return "is the name of a file"
    return "is no name of a column"


def _suggest_names(header: list[str], roles: Sequence[str], exists: Callable[[str], bool]) -> list[str]:
    """Return names for columns: those of the task's roles, as well as can be guessed."""
    files = [i for i, cell in enumerate(header) if _is_file_name(cell) or exists(cell)]
    names = [f"column_{i + 1}" for i in range(len(header))]
    order = [*files[:1], *(i for i in range(len(header)) if i not in files)] if files else range(len(header))
    for i, role in zip(order, roles[:2], strict=False):
        names[i] = role
    return names


def _quote(name: str) -> str:
    return name if re.fullmatch(r"[\w./-]+", name) else f"'{name}'"
