"""Files and folders that are whole or not there: hashed while written, flushed to the disk, then named."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hf_finetune.errors import CheckpointError

__all__ = [
    "MANIFEST",
    "HashingFile",
    "file_facts",
    "give_name",
    "is_disk_full",
    "make_folder",
    "read_manifest",
    "remove",
    "replace_folder",
    "sync",
    "verify",
    "write_bytes",
    "write_json",
    "write_manifest",
]

MANIFEST = "manifest.json"
LARGE = 1 << 20
"""From this size on (bytes) hashing and writing go side by side."""
FLUSH = 1 << 25
"""After so many bytes the disk is told to begin with them."""


class HashingFile:
    """A file for writing that counts and hashes what passes through it; `torch.save` writes to it.

    An error of the disk is kept and raised on closing: torch's zip writer, which is C++, ends the process
    when the object it writes to raises.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._hash = hashlib.sha256()
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._error: OSError | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._flushed = 0
        self._flushing: Future[None] | None = None

    def __enter__(self) -> HashingFile:
        return self

    def write(self, data: Any) -> int:
        """Append bytes-like data and return their number."""
        view = memoryview(data).cast("B")
        if self._error is None and len(view) > 0:
            try:
                self._write(view)
            except OSError as error:
                self._error = error
        self.size += len(view)
        return len(view)

    def _write(self, view: memoryview) -> None:
        hashing = None
        if len(view) >= LARGE:
            self._pool = self._pool or ThreadPoolExecutor(2)
            hashing = self._pool.submit(self._hash.update, view)
            self._flush_meanwhile(self._pool)
        else:
            self._hash.update(view)
        try:
            rest = view
            while len(rest) > 0:
                rest = rest[self._file.write(rest) :]
        finally:
            if hashing is not None:  # the caller may free the memory once we return
                hashing.result()

    def _flush_meanwhile(self, pool: ThreadPoolExecutor) -> None:
        """Let the disk take what is written while more is: at the end little is left to wait for."""
        is_idle = self._flushing is None or self._flushing.done()
        if is_idle and self.size - self._flushed >= FLUSH:
            self._end_flushing()
            self._flushed = self.size
            self._flushing = pool.submit(os.fdatasync, self._file.fileno())

    def _end_flushing(self) -> None:
        """Learn what became of the last flush: the system tells of an error once, and not again at the end.

        Raises:
            OSError: It failed.
        """
        if self._flushing is not None:
            self._flushing.result()

    def flush(self) -> None:
        """Do nothing; nothing is buffered."""

    def facts(self) -> dict[str, Any]:
        """Return `{"size": bytes, "sha256": hex}` of what was written."""
        return {"size": self.size, "sha256": self._hash.hexdigest()}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        try:
            if kind is None and self._error is None:
                self._end_flushing()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if self._error is not None:
            raise self._error


def write_json(path: Path, value: Any) -> dict[str, Any]:
    """Write a value as indented JSON and return the file's facts."""
    with HashingFile(path) as file:
        file.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode())
    return file.facts()


def file_facts(path: Path, *, flush: bool = False) -> dict[str, Any]:
    """Return `{"size": bytes, "sha256": hex}` of a file on disk, flushed to it first when `flush`."""
    with open(path, "rb") as file:
        if flush:
            os.fsync(file.fileno())
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def write_manifest(folder: Path, files: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the list of files, which makes a folder whole, and flush the folder.

    Args:
        folder: What to seal; files not in `files` (small, written by libraries) are read back and added.
        files: `relative name -> facts` of files that were hashed while they were written.
        about: More facts to keep in the manifest.

    Returns:
        The facts of the manifest itself.
    """
    known = dict(files)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in known and name != MANIFEST:
            known[name] = file_facts(path, flush=True)
    facts = write_json(folder / MANIFEST, {**about, "files": known})
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            sync(path)
    return facts


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what `write_manifest` wrote.

    Raises:
        CheckpointError: It is missing, or is not one.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {
            str(name): {"size": int(facts["size"]), "sha256": str(facts["sha256"])}
            for name, facts in manifest["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{MANIFEST} is missing or unreadable ({error})", where=str(folder)) from error
    return {**manifest, "files": files}


def verify(folder: Path, *, may_lack: Callable[[str], bool] = lambda name: False) -> None:
    """Check every file of a folder against its manifest: presence, size, sha256.

    Args:
        folder: With a manifest.
        may_lack: Name of a file -> whether it may be missing.

    Raises:
        CheckpointError: Something is missing, torn or changed, or there is no readable manifest.
    """
    for name, facts in read_manifest(folder)["files"].items():
        path, size = folder / name, facts["size"]
        if not path.is_file():
            if may_lack(name):
                continue
            raise CheckpointError(f"{name} is missing", where=str(folder))
        if path.stat().st_size != size:
            raise CheckpointError(
                f"{name} has {path.stat().st_size} bytes instead of {size}", where=str(folder)
            )
        if file_facts(path)["sha256"] != facts["sha256"]:
            raise CheckpointError(f"{name} is damaged: its sha256 is not the manifest's", where=str(folder))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, also after a power cut."""
    make_folder(path.parent)
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    give_name(part, path)


def give_name(part: Path, path: Path) -> None:
    """Give a finished file its name in one step: the file is on the disk before its name is."""
    sync(part)
    part.replace(path)
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and flush their names."""
    made = [folder, *folder.parents]
    made = made[: next((i for i, path in enumerate(made) if path.is_dir()), len(made))]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:
        sync(path.parent)


def replace_folder(staging: Path, target: Path) -> None:
    """Give a finished folder its name in one step, replacing what had it."""
    replaced = target.with_name(f".replaced-{target.name}")
    if os.path.lexists(target):
        remove(replaced)
        os.rename(target, replaced)
    os.rename(staging, target)
    sync(target.parent)
    remove(replaced)


def remove(path: Path) -> None:
    """Delete a file, a folder or a link, as far as that is possible; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        with suppress(OSError):
            path.unlink()


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # /dev/full; folders of some network disks
            raise
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that the disk, or this user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
