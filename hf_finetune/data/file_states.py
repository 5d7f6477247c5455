"""What the files behind a column of file names are: whether they are still those of last time.

A table of file names says nothing of what is in the files, so whatever is kept of them on disk is kept
together with their states. A state is size, time of last writing and time of last change in ns: the last,
which nothing but the kernel sets, gives away a file of the same size whose time of writing was put back, and
one that was moved to its place. A file that changed less than `RACY_NS` before it was looked at could change
again within the same tick of the clock, and so is read; with `compare="content"` every file is.

States are for caches only. What identifies data in checkpoints are digests of content
(`PreparedSplit.digests`), so that a copied data set is the same data set.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_finetune.tasks.files import hash_content

__all__ = ["Compare", "FileStates", "list_names", "read_states"]

Compare: TypeAlias = Literal["times", "content"]

RACY_NS = 2_000_000_000
"""Twice the coarsest clock of a file system in use: 1 s of some network file systems."""
SLOW_S = 50e-6
"""To look at one file: a network file system, where many at once are faster."""
SAMPLE = 500
THREADS = 16
CHUNK_BYTES = 1 << 20
PLACE, SIZE, WRITTEN, CHANGED, CONTENT = range(5)
NOT_THERE, REMOTE = -1, -2
State = tuple[int, int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class FileStates:
    """The states of some files, in their order.

    Args:
        names: The file names; not those of the last time, where states were read from disk.
        folders: Where relative names may start.
        table: int64 [N, 5]: which folder has the file, size, times of writing and of change in ns, and a
            hash of the content where it was read, else 0.
    """

    names: Sequence[str]
    folders: Sequence[str]
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    @property
    def num_read(self) -> int:
        """How many files had to be read, for they had just been written."""
        return int(np.count_nonzero(self.table[:, CONTENT]))

    def count_changes(self, old: np.ndarray, compare: Compare) -> int:
        """Return how many files are not those of last time.

        Args:
            old: The table of last time, of as many files.
            compare: By what.
        """
        fields = [PLACE, SIZE] if compare == "content" else [PLACE, SIZE, WRITTEN, CHANGED]
        same = (self.table[:, fields] == old[:, fields]).all(axis=1)
        for row in np.flatnonzero(same & (old[:, CONTENT] != 0)):
            now = int(self.table[row, CONTENT]) or _hash_file(self._path(int(row)))
            same[row] = now == old[row, CONTENT]
        return int(np.count_nonzero(~same))

    def _path(self, row: int) -> str:
        place = int(self.table[row, PLACE])
        return _candidates(self.names[row], self.folders)[place] if place >= 0 else ""


def list_names(column: pa.ChunkedArray) -> list[str | None] | None:
    """Return the file name in every value of a column; None for a value that has its content within itself.

    Args:
        column: Names, or structs with "path" and perhaps "bytes".

    Returns:
        None where the column holds no names at all.
    """
    kind = column.type
    if pa.types.is_struct(kind):
        inside = {kind.field(i).name for i in range(kind.num_fields)}
        if "path" not in inside or not _is_text(kind.field("path").type):
            return None
        paths = pc.struct_field(column, "path")
        if "bytes" in inside:
            has_content = pc.is_valid(pc.struct_field(column, "bytes"))
            paths = pc.if_else(has_content, pa.scalar(None, paths.type), paths)
        column = paths
    return list(column.to_pylist()) if _is_text(column.type) else None


def read_states(
    names: Sequence[str | None], folders: Sequence[str], compare: Compare = "times"
) -> FileStates:
    """Look at files.

    Args:
        names: Paths, also `zip://MEMBER::ARCHIVE`, which stands for its archive; None is left out.
        folders: Where a relative path may start; the first that has the file is taken.
        compare: "content" reads all of them.
    """
    given = [name for name in names if name is not None]
    distinct = list(dict.fromkeys(given))
    horizon = time.time_ns() - RACY_NS

    def look(name: str) -> State:
        return _look(name, folders, 0 if compare == "content" else horizon)

    found = dict(zip(distinct, _map_files(look, distinct), strict=True))
    table = np.array([found[name] for name in given], np.int64).reshape(len(given), 5)
    return FileStates(names=given, folders=folders, table=table)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _map_files(look: Callable[[str], State], names: Sequence[str]) -> Iterable[State]:
    start = time.perf_counter()
    first = [look(name) for name in names[:SAMPLE]]
    rest = names[SAMPLE:]
    if (time.perf_counter() - start) / max(len(first), 1) < SLOW_S:
        return first + [look(name) for name in rest]
    with ThreadPoolExecutor(THREADS) as pool:
        parts = [rest[i : i + SAMPLE] for i in range(0, len(rest), SAMPLE)]
        return first + [one for part in pool.map(lambda part: [look(n) for n in part], parts) for one in part]


def _candidates(name: str, folders: Sequence[str]) -> list[str]:
    """List where a file may be, as `find_file` looks for it; the archive of a member."""
    archive = name.rpartition("::")[2]
    if archive != name:
        return [archive.removeprefix("file://")]
    return [*(os.path.join(folder, name) for folder in folders), name]


def _look(name: str, folders: Sequence[str], horizon: int) -> State:
    last = name.rpartition("::")[2]
    if "://" in last and not last.startswith("file://"):
        return REMOTE, 0, 0, 0, 0  # to ask for each of a million addresses would take hours
    for place, path in enumerate(_candidates(name, folders)):
        try:
            found = os.stat(path)
        except (OSError, ValueError):  # a NUL in a name is a ValueError
            continue
        if stat.S_ISREG(found.st_mode):
            content = _hash_file(path) if found.st_ctime_ns >= horizon else 0
            return place, found.st_size, found.st_mtime_ns, found.st_ctime_ns, content
    return NOT_THERE, 0, 0, 0, 0


def _hash_file(path: str | Path) -> int:
    """Return a hash of all of a file that is never 0; -1 where it cannot be read."""
    digest: Any = hashlib.blake2b(digest_size=8)
    try:
        with open(path, "rb") as file:
            while part := file.read(CHUNK_BYTES):
                digest.update(part)
    except OSError:
        return -1
    return int.from_bytes(digest.digest(), "little", signed=True) or hash_content(b"0")
