"""Where predictions end up: a file that appears when it is whole, or what is written through."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from hf_finetune.atomic_io import is_disk_full
from hf_finetune.errors import UserError
from hf_finetune.streams import unhidden

__all__ = ["Place"]

_DESCRIPTORS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


class Place:
    """A file, or a device, a pipe or standard output.

    A file is written beside its place, and put there when it is whole. A symlink stays one: the file it
    points to is replaced. What is not a plain file is written through, and needs no `overwrite`.

    Args:
        path: None is standard output.
        overwrite: Replace a file that is there.

    Raises:
        UserError: The file is there, its folder is not, or it cannot be looked at.
    """

    def __init__(self, path: Path | None, *, overwrite: bool = False) -> None:
        self.path = path
        self._descriptor = None if path is None else _find_descriptor(path)
        self.is_stream = path is None or self._descriptor is not None
        if path is not None and not self.is_stream:
            with self.explaining():
                self.is_stream = _is_special(path)
                if not self.is_stream:
                    self._file = Path(os.path.realpath(path))
                    _require_room(path, self._file, overwrite=overwrite)
        self._part: Path | None = None

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Turn what goes wrong with this place inside into a message; standard output is the command's."""
        try:
            yield
        except OSError as error:
            if self.path is None:
                raise
            is_full = is_disk_full(error)
            what = "the disk is full" if is_full else f"it cannot be written: {error.strerror or error}"
            todo = "Free some space, or name another file." if is_full else "Name another file."
            raise UserError(what, where=str(self.path), todo=todo) from error

    def open_text(self) -> TextIO:
        """Open it for text."""
        if self.path is None:
            return unhidden(sys.stdout)
        if self.is_stream:
            stream: TextIO = self._open_stream("w", encoding="utf-8", newline="")
            return stream
        return self.make_part().open("x", encoding="utf-8", newline="")

    def make_part(self) -> Path:
        """Return where a file is written to before it is whole: beside its place."""
        if self.is_stream:
            handle, name = tempfile.mkstemp(prefix="hf-finetune-")
            os.close(handle)
            self._part = Path(name)
        else:
            self._part = self._file.with_name(f"{self._file.name}.part")
            self._part.unlink(missing_ok=True)  # of a predict that was killed
        return self._part

    def finish(self) -> None:
        """Put the whole file in its place."""
        if self._part is None:
            return
        if not self.is_stream:
            if self._file.exists():
                shutil.copymode(self._file, self._part)
            self._part.replace(self._file)
            return
        with self._part.open("rb") as source, self._open_stream("wb") as target:
            shutil.copyfileobj(source, target)

    def discard(self) -> None:
        """Remove what was not put in its place."""
        if self._part is not None:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _open_stream(self, mode: str, **options: str) -> Any:
        # of a descriptor of ours a copy: opened by its name, a file would be begun anew
        target = os.dup(self._descriptor) if self._descriptor is not None else str(self.path)
        return open(target, mode, **options)  # type: ignore[call-overload]


def _find_descriptor(path: Path) -> int | None:
    name = os.path.abspath(path)
    match = _DESCRIPTOR.fullmatch(name)
    return int(match[1]) if match else _DESCRIPTORS.get(name)


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _require_room(path: Path, file: Path, *, overwrite: bool) -> None:
    if file.is_dir():
        raise UserError("this is a folder", where=str(path), todo="Name the file that the predictions go to.")
    if file.exists() and not overwrite:
        raise UserError(
            "the file is there", where=str(path), todo="Replace it by --overwrite, or name another."
        )
    if not file.parent.is_dir():
        folder = file.parent if path.is_symlink() else path.parent
        raise UserError(f"there is no folder {folder}", where=str(path), todo="Make it first.")
