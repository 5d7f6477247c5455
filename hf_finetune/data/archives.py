"""Archives of files: unpacked once, whole or not at all.

`datasets` unpacks into a folder named by the archive's path alone, and takes that folder for whole whatever
is in it. So a second run after a damaged member, or after a kill, trained on the part that had been unpacked;
and an archive that was replaced was never read again.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import datasets

from hf_finetune.errors import DataError

__all__ = ["ARCHIVE_ERRORS", "check_tar", "unpack"]

ARCHIVE_ERRORS = (EOFError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


def unpack(archive: Path, *, where: str) -> Path:
    """Unpack an archive into the cache, or find it there: the folder is named by path, size and time.

    Args:
        archive: A zip or tar file.
        where: Place in the recipe.

    Raises:
        DataError: The archive or a member is damaged or locked, or a member is to lie outside.
    """
    status = archive.stat()
    key = f"{archive.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "hf_finetune" / "unpacked"
    folder = cache / hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=cache, prefix=".part-"))
    try:
        _extract(archive, scratch, where)
        try:
            os.rename(scratch, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _extract(archive: Path, folder: Path, where: str) -> None:
    todo = "Make the archive anew, or unpack it and name the folder."
    try:
        if archive.suffix.lower() != ".zip":
            check_tar(archive, where=where)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            return
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if member.flag_bits & 1:
                    raise DataError(
                        f"{archive}: {member.filename} is locked by a password", where=where, todo=todo
                    )
                try:
                    packed.extract(member, folder)
                except (*ARCHIVE_ERRORS, NotImplementedError) as error:
                    raise DataError(
                        f"{archive}: {member.filename} cannot be read: {error}", where=where, todo=todo
                    ) from error
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{archive} cannot be unpacked: {error}", where=where, todo=todo) from error


def check_tar(archive: Path, *, where: str) -> None:
    """Refuse a tar file that ends too early: `tarfile` takes damage between two members for the end.

    Raises:
        DataError: Names the last member before the damage.
    """
    last, todo = "its first member", "Make the archive anew."
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                last = member.name
            file = tar.fileobj
            if file is None:
                return
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) == tarfile.NUL * tarfile.BLOCKSIZE:
                return
    except (*ARCHIVE_ERRORS, OSError) as error:
        raise DataError(f"{archive} is damaged after {last}: {error}", where=where, todo=todo) from error
    raise DataError(
        f"{archive} is damaged or cut off after {last}: it has no mark of its end", where=where, todo=todo
    )
