"""The files of a folder: every one is listed, through links too, and none is left out without a word.

`datasets` does not follow links to folders, takes files for splits by words in their names, and says nothing
of what it leaves out. So a folder is listed here, and whoever reads it gets the names.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from hf_finetune.errors import DataError
from hf_finetune.formatting import list_some

__all__ = ["Listing", "count_suffixes", "find_files", "list_files", "tell_files"]

IGNORED_FOLDERS = frozenset({"__MACOSX", "__pycache__"})
MAGIC = frozenset("*?[")
NUM_SUFFIXES = 8
"""Suffixes of files that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in a folder, at any depth; names are relative to it, with slashes.

    Args:
        root: The folder, absolute.
        files: Sorted by name, as `datasets` sorts them.
        hidden: Names that begin with a dot, and the folders that archives and Python leave behind; what is in
            a hidden folder is not listed.
        broken: Links that lead nowhere.
        loops: Links to a folder that they lie in.
        others: Sockets, pipes and devices.
        empty: Folders with nothing in them.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def left_out(self) -> list[str]:
        """Say what is there beside files, a few words each."""
        told = [
            f"{'a' if len(names) == 1 else f'{len(names):,} times a'} {word} ({list_some(names, 3)})"
            for word, names in (
                ("broken link", self.broken),
                ("link to a folder that it is in", self.loops),
                ("socket, pipe or device", self.others),
            )
            if names
        ]
        return [
            *told,
            *([f"{len(self.hidden):,} hidden ({list_some(self.hidden, 2)})"] if self.hidden else []),
        ]

    def paths(self, names: Iterable[str]) -> list[str]:
        """Return the absolute paths of some files."""
        return [f"{self.root.as_posix().rstrip('/')}/{name}" for name in names]


def list_files(root: Path, *, where: str | None = None, depth: int | None = None) -> Listing:
    """List a folder with all below it, links followed.

    Args:
        root: The folder.
        where: `file:line:column` of its name in the recipe.
        depth: Folders that a file lies in at most, the root among them; None lists all.

    Raises:
        DataError: A folder cannot be read, or a name is not text.
    """
    found = Listing(root=root.resolve())
    _walk(found, "", ((s := root.stat()).st_dev, s.st_ino), (), depth, where)
    for names in (found.files, found.hidden, found.broken, found.loops, found.others, found.empty):
        names.sort()
    return found


def _walk(
    found: Listing,
    folder: str,
    here: tuple[int, int],
    above: tuple[tuple[int, int], ...],
    depth: int | None,
    where: str | None,
) -> None:
    try:
        with os.scandir(found.root / folder) as entries:
            listed = list(entries)
    except OSError as error:
        raise DataError(f"{found.root / folder} cannot be read: {error.strerror}", where=where) from error
    if not listed:
        found.empty.append(folder.rstrip("/"))
    above = (*above, here)
    for entry in listed:
        name = folder + entry.name
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode(errors="replace")
            raise DataError(f"the name of {shown!r} is not UTF-8", where=where, todo="Rename it.") from None
        if entry.name.startswith(".") or entry.name in IGNORED_FOLDERS:
            found.hidden.append(name)
            continue
        try:
            status = entry.stat()  # of what a link leads to
        except OSError:
            found.broken.append(name)
            continue
        if entry.is_dir():
            key = (status.st_dev, status.st_ino)
            if key in above:
                found.loops.append(name)
            elif depth is None or len(above) < depth:
                _walk(found, name + "/", key, above, depth, where)
        else:
            (found.files if entry.is_file() else found.others).append(name)


def find_files(pattern: str, base: Path, *, where: str) -> tuple[Listing, list[str]]:
    """Find the files that a pattern is for, links followed; `**` is any depth.

    Args:
        pattern: A file's name, or a glob pattern; relative to `base`, or absolute.
        base: A folder.
        where: Place of the pattern in the recipe.

    Returns:
        The folder that the pattern starts at, and the files in it that fit; of broken links only those that
        may be in the way.

    Raises:
        DataError: It is a folder, or there is no such file.
    """
    start, rest = _split_pattern(str(base / Path(pattern).expanduser()))
    if not rest:
        if start.is_dir():
            raise DataError(
                f"{pattern} is a folder", where=where, todo=f"Name the files in it: {pattern.rstrip('/')}/**"
            )
        if not start.is_file():
            raise DataError(f"there is no file {start}", where=where, todo="Check the path.")
        return Listing(root=start.absolute().parent, files=[start.name]), [start.name]
    if not start.is_dir():
        raise DataError(f"there is no folder {start}", where=where, todo="Check the path.")
    parts = rest.split("/")
    listing = list_files(start, where=where, depth=None if "**" in rest else len(parts))
    fits = re.compile(glob_translate(rest)).match
    names = [name for name in listing.files if fits(name)]
    if not names:
        raise DataError(
            f"no file is named by {pattern}; there are {len(listing.files):,} in {start}",
            where=where,
            todo="Write ** for files in folders at any depth, such as pictures/**.",
        )
    # a broken link may have led to a folder with such files
    upper = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    broken = [name for name in listing.broken if any(re.match(glob_translate(some), name) for some in upper)]
    return replace(listing, broken=broken), names


def _split_pattern(pattern: str) -> tuple[Path, str]:
    """Divide a pattern into the folder that it starts at and the rest; a file's name has no rest."""
    parts = PurePosixPath(pattern).parts
    plain = next((i for i, part in enumerate(parts) if MAGIC & set(part)), len(parts))
    if plain == len(parts) or Path(pattern).exists():
        return Path(pattern), ""
    return Path(*parts[:plain]), "/".join(parts[plain:])


def count_suffixes(names: Sequence[str]) -> list[str]:
    """Count files by suffix, the most first: "12 .txt", "1 without a suffix"; a single file by its name.

    Example:
        >>> count_suffixes(["a/x.txt", "b.txt", "c/README", "Thumbs.db"])
        ['2 .txt', 'Thumbs.db', 'c/README']
    """
    counts = Counter(PurePosixPath(name).suffix.lower() for name in names)
    by_suffix = {PurePosixPath(name).suffix.lower(): name for name in reversed(names)}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], by_suffix[item[0]]))
    told = [
        by_suffix[suffix] if count == 1 else f"{count:,} {suffix or 'without a suffix'}"
        for suffix, count in ordered[:NUM_SUFFIXES]
    ]
    others = sum(count for _, count in ordered[NUM_SUFFIXES:])
    return [*told, f"{others:,} others"] if others else told


def tell_files(what: str, num_files: int, num_used: int, left_out: Sequence[str]) -> str:
    """Say how many files there are, how many are used, and what the others are.

    Example:
        >>> tell_files("./pets", 1203, 1200, ["3 .txt"])
        './pets: 1,203 files, 1,200 used; left out: 3 .txt'
    """
    used = "all used" if num_used == num_files else f"{num_used:,} used"
    word = "file" if num_files == 1 else "files"
    listed = f"; left out: {', '.join(left_out)}" if left_out else ""
    return f"{what}: {num_files:,} {word}, {used}{listed}"
