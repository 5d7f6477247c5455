"""Errors of the disk are told, whenever the disk finds them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hf_finetune import atomic_io


@pytest.mark.parametrize("num_blocks", [3, 40])
def test_an_error_of_a_flush_on_the_way_is_not_lost(
    num_blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells of a failed write once, to whichever flush comes first; the last one then succeeds."""
    told: list[int] = []

    def fail_once(descriptor: int) -> None:
        if not told:
            told.append(descriptor)
            raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fdatasync", fail_once)
    monkeypatch.setattr(atomic_io, "FLUSH", atomic_io.LARGE)

    def write() -> None:
        with atomic_io.HashingFile(tmp_path / "file") as file:
            for _ in range(num_blocks):
                file.write(bytes(atomic_io.LARGE))

    with pytest.raises(OSError, match="the disk is broken"):
        write()
    assert told


def test_everything_below_a_folder_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    seen = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: seen.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    atomic_io.sync_tree(tmp_path)
    assert set(seen) == {str(tmp_path / name) for name in ("", "a", "a/b", "a/b/file")}
