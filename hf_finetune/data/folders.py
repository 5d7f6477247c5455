"""Folders of pictures or sounds: a folder for each class, or a table of metadata beside the files.

`datasets` has builders for them, whose guesses cannot be turned off: the class is the folder right above a
file, whatever is above that, and one file at another depth takes the classes from all. So class folders are
read here. What has a table of metadata goes to the builder, with every file named.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa
from datasets.data_files import DataFilesDict, DataFilesList

from hf_finetune.data.kinds import is_medium
from hf_finetune.data.layout import order_splits, unwrap
from hf_finetune.data.table_cache import load_tables
from hf_finetune.errors import DataError
from hf_finetune.formatting import list_some

__all__ = ["Item", "MediaFolder", "load_files", "read_classes", "read_metadata"]

BUILDERS = {"image": "imagefolder", "audio": "audiofolder"}
FEATURES: dict[str, Any] = {"image": datasets.Image, "audio": datasets.Audio}


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file of a split.

    Args:
        path: Absolute.
        rest: Its path below the folder in which the class folders are.
        label: Of a file that was named without a class folder: the folder that it is in.
    """

    path: str
    rest: str
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class MediaFolder:
    """How a folder is read, and for what.

    Args:
        medium: "image" or "audio".
        what: The folder, as the user wrote it.
        wanted: Splits that the recipe uses.
        drop: Leave out files without a class, which are refused otherwise.
        is_labelled: False reads no classes.
        where: Place in the recipe.
    """

    medium: str
    what: str
    wanted: frozenset[str]
    drop: bool
    is_labelled: bool
    where: str

    @property
    def builder(self) -> str:
        """The builder of `datasets` for such folders."""
        return BUILDERS[self.medium]


def read_classes(
    splits: Mapping[str, Sequence[Item]], folder: MediaFolder
) -> tuple[datasets.DatasetDict, list[str], list[str]]:
    """Make splits of files that lie in class folders, or in none.

    The class is the first folder; what is in folders below belongs to it. The rows are sorted as the files
    are given.

    Args:
        splits: Split -> its files.
        folder: What is read.

    Returns:
        The splits, what was left out, and notes.

    Raises:
        DataError: Some files have a class and others have none.
    """
    if not folder.is_labelled:
        plain = {split: _make(rows, None, [], folder) for split, rows in splits.items()}
        return datasets.DatasetDict(plain), [], []
    notes: list[str] = []
    shorter = _unwrap_all(splits, folder.what, notes)
    labels = {
        split: [rest.partition("/")[0] if "/" in rest else item.label for item, rest in rows]
        for split, rows in shorter.items()
    }
    names = sorted({name for of_split in labels.values() for name in of_split if name is not None})
    by_folder = any("/" in rest for rows in shorter.values() for _, rest in rows)
    if not by_folder and len(names) < 2:
        plain = {split: _make(rows, None, [], folder) for split, rows in splits.items()}
        return datasets.DatasetDict(plain), [], notes
    left_out: list[str] = []
    made = {}
    for split, rows in shorter.items():
        lost = [item.path for (item, _), label in zip(rows, labels[split], strict=True) if label is None]
        if lost:
            left_out += _leave_out(lost, split, names, folder)
        kept = [(row, label) for row, label in zip(rows, labels[split], strict=True) if label is not None]
        if kept:
            made[split] = _make([item for (item, _), _ in kept], [label for _, label in kept], names, folder)
    notes += _tell_depth(shorter, folder.what)
    return datasets.DatasetDict(made), left_out, notes


def _unwrap_all(
    splits: Mapping[str, Sequence[Item]], what: str, notes: list[str]
) -> dict[str, list[tuple[Item, str]]]:
    """Take off the folder that holds all class folders, where every split has one."""
    unwrapped = {split: unwrap({item.path: item.rest for item in rows}) for split, rows in splits.items()}
    if not all(wrapper for wrapper, _ in unwrapped.values()):
        return {split: [(item, item.rest) for item in rows] for split, rows in splits.items()}
    wrappers = sorted({wrapper.rstrip("/") for wrapper, _ in unwrapped.values()})
    notes.append(f"{what}: the classes are the folders in {list_some(wrappers, 3)}")
    return {
        split: [(item, unwrapped[split][1][item.path]) for item in rows] for split, rows in splits.items()
    }


def _leave_out(lost: list[str], split: str, names: Sequence[str], folder: MediaFolder) -> list[str]:
    """Return what to say of files without a class; refuse them where they were to be used."""
    base = os.path.commonpath([os.path.dirname(path) for path in lost])
    told = list_some([os.path.relpath(path, base) for path in lost], 3)
    count = "1 file" if len(lost) == 1 else f"{len(lost):,} files"
    if folder.drop or split not in folder.wanted:
        return [f"{count} in no class folder ({told} in {base})"]
    raise DataError(
        f"{base}: {count} in no class folder: {told}; the classes are {list_some(names)}",
        where=folder.where,
        todo="Put each into the folder of its class, or leave them out by data: {bad_rows: drop}.",
    )


def _tell_depth(splits: Mapping[str, Sequence[tuple[Item, str]]], what: str) -> list[str]:
    """Say which folders are part of a class, and are none themselves."""
    deeper = [rest.split("/") for rows in splits.values() for _, rest in rows if rest.count("/") > 1]
    if not deeper:
        return []
    folders = list(dict.fromkeys("/".join(parts[:2]) for parts in deeper))
    return [
        f"{what}: {len(deeper):,} files lie deeper ({list_some(folders, 3)}); their class is the first folder"
    ]


def _make(
    rows: Sequence[Item], labels: list[str] | None, names: list[str], folder: MediaFolder
) -> datasets.Dataset:
    """Return the data set of some files; nothing is decoded, and the rows are names alone."""
    paths = [item.path for item in rows]
    files = pa.StructArray.from_arrays(
        [pa.nulls(len(paths), pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"]
    )
    columns: dict[str, Any] = {folder.medium: files}
    features = {folder.medium: FEATURES[folder.medium]()}
    if labels is not None:
        numbers = {name: number for number, name in enumerate(names)}
        columns["label"] = pa.array([numbers[label] for label in labels], pa.int64())
        features["label"] = datasets.ClassLabel(names=names)
    info = datasets.DatasetInfo(features=datasets.Features(features))
    table = datasets.table.InMemoryTable(pa.table(columns))
    return datasets.Dataset(table, info=info, fingerprint=_fingerprint(paths, labels, names, folder.medium))


def _fingerprint(paths: list[str], labels: list[str] | None, names: list[str], medium: str) -> str:
    """Return what names the caches of these rows: another one when a file is replaced."""
    content = hashlib.blake2b(repr((medium, names, labels)).encode(), digest_size=8)
    for path, (size, time) in zip(paths, map(_state, paths), strict=True):
        content.update(f"{path}\0{size}\0{time}\0".encode())
    return content.hexdigest()


def _state(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def load_files(
    builder: str, splits: Mapping[str, Iterable[str]], options: Mapping[str, Any], *, place: str
) -> datasets.DatasetDict:
    """Load files by a builder of `datasets`: these, none of them left out, names with [ ] or * included."""
    files = {
        split: DataFilesList(paths, [tuple(map(str, _state(path))) for path in paths])
        for split in order_splits(splits)
        if (paths := list(splits[split]))
    }
    return load_tables(builder, place=place, data_files=DataFilesDict(files), **options)


def read_metadata(
    splits: Mapping[str, Sequence[str]], folder: MediaFolder, options: Mapping[str, Any]
) -> tuple[datasets.DatasetDict, list[str], int]:
    """Load files beside which lie tables of metadata, which say what each of them is.

    Args:
        splits: Split -> absolute paths, of files and of tables.
        folder: What is read.
        options: Further arguments of `datasets.load_dataset`.

    Returns:
        The splits; what was left out, because no table names it; and how many files that are.

    Raises:
        DataError: The files of a split have no table.
    """
    for split, paths in splits.items():
        if all(is_medium(path, folder.medium) for path in paths):
            raise DataError(
                f"the files of the split {split!r} have no table of metadata, as those of others have",
                where=folder.where,
                todo=f"Put one beside them, such as {os.path.dirname(paths[0])}/metadata.csv.",
            )
    loaded = load_files(folder.builder, splits, options, place=folder.what)
    named = {path for rows in loaded.values() for path in _list_paths(rows, folder.medium)}
    media = [path for paths in splits.values() for path in paths if is_medium(path, folder.medium)]
    lost = [path for path in media if path not in named]
    count = "1 file" if len(lost) == 1 else f"{len(lost):,} files"
    told = list_some([os.path.basename(path) for path in lost], 3)
    return loaded, [f"{count} that no table of metadata names ({told})"] if lost else [], len(lost)


def _list_paths(rows: datasets.Dataset, medium: str) -> Iterator[str]:
    """Yield the names of all files that some rows speak of."""
    for column, feature in rows.features.items():
        is_list = isinstance(feature, datasets.List)
        if isinstance(feature.feature if is_list else feature, FEATURES[medium]):
            for chunk in rows.data.column(column).chunks:
                yield from (chunk.flatten() if is_list else chunk).field("path").to_pylist()
