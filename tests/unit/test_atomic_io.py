"""Whole or not there: flushed before it is named; errors of the disk are told, whenever it finds them."""

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


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is flushed and what gets its name, in this order."""
    events: list[str] = []
    rename = Path.replace

    def flush(descriptor: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def replace(path: Path, target: Path) -> Path:
        events.append(f"{path} is named")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", replace)
    return events


def test_everything_below_a_folder_is_flushed_and_its_manifest_last(tmp_path: Path, seen: list[str]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    atomic_io.write_manifest(tmp_path, {}, {"step": 3})
    assert set(seen) == {str(tmp_path / name) for name in ("", "a", "a/b", "a/b/file", "manifest.json")}
    assert seen.index(str(tmp_path / "a/b/file")) < seen.index(str(tmp_path / "manifest.json"))
    assert atomic_io.read_manifest(tmp_path)["step"] == 3
    atomic_io.verify(tmp_path)


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, seen: list[str]) -> None:
    path = tmp_path / "new" / "scores.json"
    atomic_io.write_bytes(path, b"{}")
    part = f"{path}.part"
    assert seen == [str(tmp_path), part, f"{part} is named", str(path.parent)]
    assert path.read_bytes() == b"{}"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux' full disk")
def test_what_does_not_fit_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        atomic_io.write_bytes(tmp_path / "file", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("link", "nothing"):
        atomic_io.remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
