"""Files that are whole or not there: hashed while written, flushed to the disk, renamed at the end."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import torch

from hf_finetune.errors import CheckpointError

__all__ = [
    "HashingFile",
    "file_facts",
    "is_disk_full",
    "replace_folder",
    "sync_folder",
    "sync_tree",
    "verify",
    "write_manifest",
]

MANIFEST = "manifest.json"
LARGE = 1 << 20
"""From this size on (bytes) hashing and writing go side by side."""
FLUSH = 1 << 25
"""After so many bytes the disk is told to begin with them."""

_SAFETENSORS_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Write tensors in the safetensors format and return the file's facts.

    The library's own writer neither hashes nor lets another thread run while it writes.

    Args:
        path: The file to make.
        tensors: Tensors that share no memory.

    Source: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    # widest types first, so that every tensor starts aligned
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in names:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        kind = _SAFETENSORS_TYPES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with HashingFile(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy())
    return file.facts()


def write_torch(path: Path, value: Any) -> dict[str, Any]:
    """Write a value with `torch.save` and return the file's facts."""
    with HashingFile(path) as file:
        torch.save(value, cast(IO[bytes], file))
    return file.facts()


def write_json(path: Path, value: Any) -> dict[str, Any]:
    """Write a value as indented JSON and return the file's facts."""
    with HashingFile(path) as file:
        file.write((json.dumps(value, indent=2, sort_keys=True) + "\n").encode())
    return file.facts()


def file_facts(path: Path, *, sync: bool = False) -> dict[str, Any]:
    """Return `{"size": bytes, "sha256": hex}` of a file on disk, flushed to it first when `sync`."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def write_manifest(folder: Path, files: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write the list of files, which makes a folder whole, and flush the folder.

    Args:
        folder: What to seal; files not in `files` (small, written by libraries) are read back and added.
        files: `relative name -> facts` of files that were hashed while they were written.
        about: More facts to keep in the manifest.
    """
    known = dict(files)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in known and name != MANIFEST:
            known[name] = file_facts(path, sync=True)
    write_json(folder / MANIFEST, {**about, "files": known})
    _sync_folders(folder)


def sync_tree(folder: Path) -> None:
    """Flush all files and folders that somebody else has written below a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            sync_folder(path)
    _sync_folders(folder)


def _sync_folders(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            sync_folder(path)


def verify(folder: Path) -> None:
    """Check every file of a folder against its manifest: presence, size, sha256.

    Raises:
        CheckpointError: Something is missing, torn or changed, or there is no readable manifest.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        items = [(str(name), int(facts["size"]), str(facts["sha256"])) for name, facts in files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{MANIFEST} is missing or unreadable ({error})", where=str(folder)) from error
    for name, size, sha256 in items:
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{name} is missing", where=str(folder))
        if path.stat().st_size != size:
            raise CheckpointError(
                f"{name} has {path.stat().st_size} bytes instead of {size}", where=str(folder)
            )
        if file_facts(path)["sha256"] != sha256:
            raise CheckpointError(f"{name} is damaged: its sha256 is not the manifest's", where=str(folder))


def replace_folder(staging: Path, target: Path) -> None:
    """Give a finished folder its name in one step, replacing what had it."""
    replaced = target.with_name(f".replaced-{target.name}")
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(target, replaced)
    os.rename(staging, target)
    sync_folder(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, or a file, to the disk, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that the disk, or this user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
