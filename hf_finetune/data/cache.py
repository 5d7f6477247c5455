"""Rows that are made once and kept on disk: found again only while they are whole and of the same files.

    <table>-<stamp>-<i>.arrow     the rows
    <table>-<stamp>.npy           the states of the files they were made of
    <table>.json                  which of these are the rows of this table now; written last

A table is a split, a column and what is done to it; it has one set of rows. When its files change, its rows
are made anew beside the old ones, which then go, unless another run still reads them. All of it can be
deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import uuid
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np

from hf_finetune.atomic_io import is_disk_full
from hf_finetune.data.file_states import Compare, FileStates
from hf_finetune.data.in_use import is_read, lock_table, mark_read
from hf_finetune.errors import DataError

__all__ = [
    "Kept",
    "Key",
    "cache_folder",
    "check_file",
    "explain_cache_errors",
    "keep",
    "measure_file",
]

logger = logging.getLogger(__name__)

WHOLE_BYTES = 512 << 20
"""A larger file is checked by samples."""
SAMPLE_BYTES = 1 << 20
NUM_SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class Key:
    """Which rows are wanted.

    Args:
        table: Names the table: the same for the rows of the same place, whatever is in its files.
        source: What the rows depend on beside the states of the files.
        name: Of the split, for messages.
        place: Of the data, for messages.
        states: Of the files behind the rows.
        compare: How files are told from those of last time.
    """

    table: str
    source: str
    name: str
    place: str
    states: FileStates | None = None
    compare: Compare = "times"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Rows on disk.

    Args:
        rows: Of the table.
        stamp: Another one each time they are made.
    """

    rows: datasets.Dataset
    stamp: str


def cache_folder() -> Path:
    """Return where rows are kept.

    It is beside the caches of `datasets`, not in the folder of the data: that may be read-only, or committed.
    """
    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_finetune"


def keep(
    key: Key,
    make: Callable[[Path], datasets.Dataset],
    *,
    num_rows: int,
    judge: Callable[[datasets.Dataset], str] | None = None,
) -> Kept:
    """Return rows: those on disk where they are whole and still right, or made anew.

    Args:
        key: Which rows.
        make: Writes them into a folder and returns them.
        num_rows: There must be.
        judge: Says why rows on disk are not right after all; empty where they are.

    Raises:
        DataError: The folder of the cache cannot be written, or its disk is full.
    """
    folder = cache_folder()
    found, _ = _find(folder, key, num_rows, judge)
    if found is not None:
        return found
    with explain_cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with lock_table(folder / f"{key.table}.lock", key.name):
            # another run may have made them meanwhile
            found, why = _find(folder, key, num_rows, judge)
            if found is not None:
                return found
            if why:
                logger.warning("%s: preparing %s again", why, key.name)
            _make(folder, key, make)
            _remove_old(folder, key.table)
    found, why = _find(folder, key, num_rows, None)
    if found is None:
        raise DataError(f"the prepared rows cannot be read back: {why}", where=str(folder), todo="Try again.")
    return found


@contextlib.contextmanager
def explain_cache_errors(folder: Path) -> Iterator[None]:
    """Say what to do about a folder that cannot be written or is on a full disk.

    Raises:
        DataError: Instead of an OSError of these kinds.
    """
    other = "set HF_DATASETS_CACHE to a folder with more room."
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DataError(
                "the disk is full: the prepared data could not be written",
                where=str(folder),
                todo=f"Free some space, or {other}",
            ) from error
        is_ours = str(error.filename or folder).startswith(str(folder))
        if is_ours and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise DataError(
                f"the prepared data cannot be written ({error.strerror or error})",
                where=str(folder),
                todo="Set HF_DATASETS_CACHE to a folder that can be written.",
            ) from error
        raise


def measure_file(path: Path) -> list[int]:
    """Return size and check sum of a file; the sum of one above `WHOLE_BYTES` is that of samples."""
    size, total = path.stat().st_size, 0
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            while part := file.read(SAMPLE_BYTES):
                total = zlib.crc32(part, total)
        else:
            for start in np.linspace(0, size - SAMPLE_BYTES, NUM_SAMPLES).astype(int):
                file.seek(int(start))
                total = zlib.crc32(file.read(SAMPLE_BYTES), total)
    return [size, total]


def check_file(path: Path, measured: list[int]) -> bool:
    """Return whether a file is still as it was measured."""
    try:
        return path.stat().st_size == measured[0] and measure_file(path) == measured
    except (OSError, LookupError):
        return False


def _find(
    folder: Path, key: Key, num_rows: int, judge: Callable[[datasets.Dataset], str] | None
) -> tuple[Kept | None, str]:
    """Return the rows on disk, or why they are not to be used; nothing where there are none."""
    list_file = folder / f"{key.table}.json"
    if not list_file.is_file():
        return None, ""
    try:
        listed = json.loads(list_file.read_text(encoding="utf-8"))
        source, stamp, files = str(listed["source"]), str(listed["stamp"]), dict(listed["files"])
        states = np.load(folder / f"{key.table}-{stamp}.npy", allow_pickle=False)
    except (OSError, ValueError, LookupError, TypeError, EOFError):
        return None, f"the prepared rows of {key.place} are damaged in {folder}"
    if source != key.source or len(states) != (len(key.states) if key.states is not None else 0):
        return None, f"{key.place} is not as it was when it was prepared"
    if key.states is not None and (changed := key.states.count_changes(states, key.compare)):
        num = f"{changed:,} of {len(states):,} files behind {key.place}"
        return None, f"{num} changed since they were prepared"
    damage = f"the prepared rows of {key.place} are damaged in {folder}"
    rows = _open(folder, files)
    if rows is None or len(rows) != num_rows:
        return None, damage
    why = judge(rows) if judge is not None else ""
    if why:
        return None, why
    if key.states is not None and key.states.num_read < np.count_nonzero(states[:, -1]):
        # the next start need not read them again
        with contextlib.suppress(OSError):
            _save_states(folder / f"{key.table}-{stamp}.npy", key.states.table)
    return Kept(rows=rows, stamp=stamp), ""


def _open(folder: Path, files: dict[str, list[int]]) -> datasets.Dataset | None:
    """Return the rows of some files, which are marked as being read; None where one is not whole."""
    marks = [mark for name in files if (mark := mark_read(folder / name)) is not None]
    try:
        if not files or not all(check_file(folder / name, measured) for name, measured in files.items()):
            raise ValueError("damaged")
        parts = [datasets.Dataset.from_file(str(folder / name)) for name in files]
        rows = parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)
    except (OSError, ValueError):  # pyarrow's errors are of these kinds
        for mark in marks:
            os.close(mark)
        return None
    for mark in marks:
        weakref.finalize(rows, os.close, mark)
    return rows


def _make(folder: Path, key: Key, make: Callable[[Path], datasets.Dataset]) -> None:
    for left in folder.glob(f"{key.table}.*.part"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    stamp = uuid.uuid4().hex[:12]
    part = folder / f"{key.table}.{stamp}.part"
    part.mkdir()
    try:
        made = make(part)
        files = {}
        for i, file in enumerate(dict.fromkeys(str(one["filename"]) for one in made.cache_files)):
            name = f"{key.table}-{stamp}-{i}.arrow"
            files[name] = measure_file(Path(file).replace(folder / name))
        table = np.zeros((0, 5), np.int64) if key.states is None else key.states.table
        _save_states(folder / f"{key.table}-{stamp}.npy", table)
        listed = part / "list.json"
        listed.write_text(json.dumps({"source": key.source, "stamp": stamp, "files": files}), "utf-8")
        listed.replace(folder / f"{key.table}.json")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _save_states(path: Path, table: np.ndarray) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.save(file, table)
    part.replace(path)


def _remove_old(folder: Path, table: str) -> None:
    """Remove the files of a table that its list does not name, but those that another run reads."""
    stamp = json.loads((folder / f"{table}.json").read_text(encoding="utf-8"))["stamp"]
    for file in folder.glob(f"{table}-*"):
        if not file.name.startswith(f"{table}-{stamp}") and not is_read(file):
            file.unlink(missing_ok=True)
