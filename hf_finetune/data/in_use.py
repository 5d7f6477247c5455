"""Files of the cache that runs share: who makes them, and who still reads them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

__all__ = ["is_read", "lock_table", "mark_read"]

logger = logging.getLogger(__name__)


def mark_read(file: Path) -> int | None:
    """Mark a file as being read, until the descriptor is closed or the process ends."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        mark = os.open(file, os.O_RDONLY)
        try:
            fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            os.close(mark)
            raise
        return mark
    return None


def is_read(file: Path) -> bool:
    """Return whether somebody reads a file, or may read it where that cannot be found out."""
    if file.suffix != ".arrow":
        return False
    try:
        import fcntl

        mark = os.open(file, os.O_RDONLY)
    except (ImportError, OSError):
        return True
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(mark)
    return False


@contextlib.contextmanager
def lock_table(path: Path, name: str) -> Iterator[None]:
    """Let one run at a time make the rows of a table; where files cannot be locked, each makes its own."""
    lock: Any = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("another run is preparing %s: waiting for it", name)
        lock.acquire()
    except (OSError, NotImplementedError):
        lock = contextlib.ExitStack()
        lock.release = lock.close
    try:
        yield
    finally:
        lock.release()
