"""What to predict: files, folders of files, or a split of a data set, a batch at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from hf_finetune.data.columns import find_input
from hf_finetune.data.cuts import (
    BOUNDS,
    add_bounds,
    find_bounds,
    find_known_bounds,
    read_words,
    refuse_nested,
)
from hf_finetune.data.files import list_files
from hf_finetune.data.kinds import BUILDER_OF_SUFFIX
from hf_finetune.data.load import find_folders, load_splits, take_split
from hf_finetune.errors import DataError, UserError
from hf_finetune.formatting import offer
from hf_finetune.recipe import Recipe
from hf_finetune.tasks.audio_cuts import CUT
from hf_finetune.tasks.base import Task

__all__ = ["Inputs", "find_inputs"]

logger = logging.getLogger(__name__)

HUB_DATASET = re.compile(r"^[\w.-]+/[\w-]+(\.[\w-]+)*(@[\w./-]+)?$")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Raw values of the task's input column, in order.

    Args:
        values: Names of files, or a split of a data set.
        column: The column of the split; None for names of files.
        feature: Of the values, as `datasets` describes them.
        folders: Where relative names of files may start.
        has_files: Whether any row of the split says which file it is.
    """

    values: Any
    column: str | None
    feature: Any
    folders: Sequence[str] = ()
    has_files: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def batches(self, size: int) -> Iterator[tuple[list[dict[str, Any]], list[Any]]]:
        """Yield (what says which row it is, raw values) of `size` rows, and fewer at the end."""
        for start in range(0, len(self.values), size):
            some = self.values[start : start + size]
            values = list(some) if self.column is None else list(some[self.column])
            yield [self._name(start + i, value) for i, value in enumerate(values)], values

    def _name(self, row: int, value: Any) -> dict[str, Any]:
        if self.column is None:
            return {"file": value}
        path = value.get("path") if isinstance(value, dict) else value if isinstance(value, str) else None
        bounds = (value.get(CUT) if isinstance(value, dict) else None) or {}
        return {"row": row, **({"file": path} if self.has_files else {}), **bounds}  # all rows alike: a table


def find_inputs(
    sources: Sequence[str], recipe: Recipe, task: Task, *, split: str | None = None, column: str | None = None
) -> Inputs:
    """Find out what the user means by some words.

    A folder is a folder of files, unless a split is named or `save_to_disk` wrote it. A csv, json, parquet or
    arrow file is a table. `owner/name`, where there is no such file, is a data set on the Hub.

    Args:
        sources: As given.
        recipe: Of the trained model.
        task: Says which column it reads.
        split: Of the data set.
        column: Of the data set, or several as `audio=file,start=offset,duration=duration`; found by its
            feature when left out.

    Raises:
        UserError: There is nothing to predict, or files and data sets are mixed.
        DataError: The data set has no such split or no such column.
        HubError: The data set cannot be read.
    """
    if not sources:
        raise UserError("there is nothing to predict", todo="Name files, a folder, or a data set.")
    tables = [source for source in sources if split is not None or _is_dataset(source)]
    if not tables:
        if column is not None:
            raise UserError("--column is for data sets, and these are files", todo="Leave it out.")
        names = [name for source in sources for name in _list_files(Path(source))]
        if not names:
            raise UserError(
                f"there is no file in {', '.join(sources)}", todo="Name a folder with files in it."
            )
        return Inputs(values=names, column=None, feature=datasets.Value("string"))
    if len(sources) > 1:
        raise UserError(
            f"{tables[0]} is a data set, and there are other words beside it ({', '.join(sources)})",
            todo="Predict one data set at a time, or files alone.",
        )
    return _open_dataset(tables[0], recipe, task, split=split, column=column)


def _is_dataset(source: str) -> bool:
    path = Path(source)
    if path.is_dir():
        return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
    if path.suffix.lower() in BUILDER_OF_SUFFIX:
        return True
    return not path.exists() and not path.suffix and HUB_DATASET.match(source) is not None


def _list_files(path: Path) -> Iterator[str]:
    """Yield the files of a folder, links followed, sorted by their paths, without hidden ones; a file itself.

    A broken link is among them: it is a file that cannot be read, and will be named.
    """
    if not path.is_dir():
        yield str(path)
        return
    listing = list_files(path, where=str(path))
    for left_out in replace(listing, broken=[]).left_out():
        logger.info("%s: not used: %s", path, left_out)
    yield from (str(path / name) for name in sorted([*listing.files, *listing.broken], key=PurePosixPath))


def _open_dataset(
    source: str, recipe: Recipe, task: Task, *, split: str | None, column: str | None
) -> Inputs:
    name, _, revision = (source, "", "") if Path(source).exists() else source.partition("@")
    wanted = Recipe(
        task=recipe.task.name, model={"checkpoint": "-"}, data={"path": name, "revision": revision or None}
    )
    try:
        loaded = load_splits(wanted, is_labelled=False)
    except UserError as error:  # it is not a recipe that is wrong
        raise type(error)(error.what, where=source, todo=error.todo) from error
    rows = take_split(loaded, split or _choose_split(loaded, source), where=source)
    role, known = task.roles[0].name, recipe.data.columns
    named = read_words(column, role, rows, where=source)
    if task.modality == "audio":
        refuse_nested(rows, named.get(role), where=source)
    column = find_input(task, rows, column=named.get(role) or known.get(role), where=source)
    if not any(key in named for key in BOUNDS):
        named |= find_known_bounds(known, rows, where=source)
    bounds = find_bounds(task, rows, named, {role: column}, where=source, is_table_alone=True)
    rows = add_bounds(rows, column, bounds, where=source)
    feature = rows.features[column]
    if getattr(feature, "decode", False):
        rows = rows.cast_column(column, type(feature)(decode=False))
    logger.info("%s: %d rows, column %r", source, len(rows), column)
    values = rows.select_columns(column)
    return Inputs(
        values=values,
        column=column,
        feature=feature,
        folders=find_folders(wanted),
        has_files=_has_files(values.with_format("arrow")[:][column]),
    )


def _has_files(values: pa.ChunkedArray) -> bool:
    if pa.types.is_struct(values.type) and values.type.get_field_index("path") >= 0:
        values = pc.struct_field(values, "path")
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    return bool(is_text and values.null_count < len(values))


def _choose_split(loaded: datasets.DatasetDict, source: str) -> str:
    if len(loaded) == 1:
        return str(next(iter(loaded)))
    raise DataError(
        "it has several splits", where=source, todo=offer("test", loaded, "Say --split, one of these")
    )
