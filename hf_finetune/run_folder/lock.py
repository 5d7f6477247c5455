"""One run at a time in a folder: a lock of the kernel, which ends with its owner however that ends."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hf_finetune.errors import RunFolderError
from hf_finetune.processes import is_first_process
from hf_finetune.run_folder.folder import RunFolder
from hf_finetune.secrecy import hide_in, hide_secrets

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunLock", "hold", "own", "require_free"]

logger = logging.getLogger(__name__)

NAME = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system answers that has no locks: Lustre without `-o flock`, some user-space disks."""

OTHER_FOLDER = "Wait for its end or stop it, or choose another folder by training.output_dir=FOLDER."
ATTEMPTS, PAUSE_S = 5, 0.05
"""Somebody who only looks whether the lock is taken may be in the way for a moment."""

_HELD: set[int] = set()


def _let_go_in_child() -> None:
    """Close a forked child's copies of the locks: a data worker that outlives its run must not hold them."""
    for descriptor in _HELD:
        with suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


class RunLock:
    """The lock of one run folder: `flock` on a hidden file in it, that also says who has it.

    What counts is the kernel's lock, not the file: one that a crash, a copy or a move left behind stops
    nobody. On NFS the lock reaches all machines.

    Args:
        folder: Of the run; it is there.
        todo: What to do when another process has it.
    """

    def __init__(self, folder: Path, todo: str) -> None:
        self.path, self.todo = folder / NAME, todo
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            RunFolderError: Another process has it, or the file cannot be opened.
        """
        if fcntl is None:
            self._warn("this system has none")
            return
        while self._descriptor is None:
            descriptor = self._open()
            try:
                self._lock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                os.close(descriptor)
                if error.errno not in UNSUPPORTED:
                    raise
                self.path.unlink(missing_ok=True)
                self._warn(str(error.strerror))
                return
            except RunFolderError:
                os.close(descriptor)
                raise
            if self._is_at(descriptor):
                self._descriptor = descriptor
            else:  # its last owner has just removed it
                os.close(descriptor)
        _HELD.add(self._descriptor)
        self._tell_of_the_last(_read(self._descriptor))
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(_describe_self()).encode(), 0)

    def look(self) -> None:
        """See whether it is free, and leave it.

        Raises:
            RunFolderError: Another process has it.
        """
        if fcntl is None:
            return
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            self._lock(descriptor, fcntl.LOCK_SH)
        except OSError:
            return  # `take` will say it
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, kind: int) -> None:
        for attempt in range(ATTEMPTS):
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt == ATTEMPTS - 1:
                    raise self._refuse(_read(descriptor)) from None
            time.sleep(PAUSE_S)

    def release(self) -> None:
        """Give it back; nothing happens where it is not held."""
        if self._descriptor is None or self._descriptor not in _HELD:
            return
        if self._is_at(self._descriptor):
            self.path.unlink(missing_ok=True)
        _HELD.discard(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise RunFolderError(
                f"{NAME} cannot be opened: {error.strerror}",
                where=str(self.path.parent),
                todo="It may be another user's: remove it when no run of theirs is going on here.",
            ) from None
        return descriptor

    def _is_at(self, descriptor: int) -> bool:
        """Whether the file that is locked is still the one with this name."""
        try:
            here, locked = os.stat(self.path, follow_symlinks=False), os.fstat(descriptor)
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (locked.st_dev, locked.st_ino)

    def _refuse(self, owner: dict[str, Any]) -> RunFolderError:
        return RunFolderError(
            f"another run is going on in this folder: {_describe(owner)}",
            where=str(self.path.parent),
            todo=self.todo,
        )

    def _warn(self, why: str) -> None:
        logger.warning(
            "%s: runs cannot lock their folder on this file system (%s): see to it that no other run uses it",
            self.path.parent,
            why,
        )

    def _tell_of_the_last(self, owner: dict[str, Any]) -> None:
        """Say whose run did not end by itself, where it was another machine's: its lock may not reach us."""
        if owner.get("host") not in (None, socket.gethostname()):
            logger.warning(
                "%s: the last run here did not end properly: %s. If it still goes on, stop one of the two",
                self.path.parent,
                _describe(owner),
            )


@contextmanager
def hold(folder: Path, *, todo: str) -> Iterator[RunFolderError | None]:
    """Own a run folder inside; of several processes that run together the first one does.

    Args:
        folder: Of the run; it is there.
        todo: What to do when another run is going on.

    Yields:
        None; where this is the first of several processes and another run has the folder, the refusal: to be
        raised by all of them together, for the others would wait for one that ends alone.

    Raises:
        RunFolderError: Another run has the folder, and this process is alone.
    """
    lock, refusal = RunLock(folder, todo), None
    if is_first_process():
        try:
            lock.take()
        except RunFolderError as error:
            if os.environ.get("WORLD_SIZE", "1") == "1":
                raise
            refusal = error
    try:
        yield refusal
    finally:
        lock.release()


@contextmanager
def own(folder: RunFolder, *, resume: bool, overwrite: bool) -> Iterator[RunFolderError | None]:
    """Claim a run folder for a training and hold it inside; see `RunFolder.claim` and `hold`."""
    folder.claim(resume=resume, overwrite=overwrite)
    with hold(folder.path, todo=OTHER_FOLDER) as refusal:
        if refusal is None and is_first_process():
            try:
                folder.claim(resume=resume, overwrite=overwrite)  # another may have begun and ended meanwhile
            except RunFolderError as error:
                refusal = error
        yield refusal


def require_free(folder: Path) -> None:
    """Find out in a moment, before anything is imported, that another run is going on in a folder.

    Of several processes none asks: the lock may be that of the first one.

    Raises:
        RunFolderError: There is.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        RunLock(folder, OTHER_FOLDER).look()


def _describe_self() -> dict[str, Any]:
    program = Path(sys.argv[0] or "python").name
    words = ["hf-finetune" if program == "__main__.py" else program, *sys.argv[1:]]
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        "command": hide_secrets(shlex.join(hide_in(words))),
    }


def _read(descriptor: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, 1 << 16, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe(owner: dict[str, Any]) -> str:
    if not {"pid", "host", "started", "command"} <= owner.keys():
        return "it does not say which process"
    return f"process {owner['pid']} on {owner['host']} since {owner['started']}: {owner['command']}"
