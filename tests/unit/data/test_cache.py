"""What is kept on disk is used only while it is whole and of the very same files; else it is made anew."""

import gc
import logging
import os
import shutil
import zipfile

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_finetune.data import file_states
from hf_finetune.errors import DataError
from hf_finetune.tasks import images


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "hf_finetune"


@pytest.fixture
def said(caplog):
    """Return a function that tells, and forgets, what was said."""
    caplog.set_level(logging.INFO)

    def take() -> str:
        text = "\n".join(caplog.messages)
        caplog.clear()
        return text

    return take


def flat(grey: int, path, side: int = 8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), grey, np.uint8)).save(path)
    return path


@pytest.fixture
def table(tmp_path):
    """Return a csv of eight flat grey pictures."""
    rows = []
    for i in range(8):
        flat(10 * i, tmp_path / "pets" / "pics" / f"{i}.bmp")
        rows.append(f"pics/{i}.bmp,{'cat' if i < 4 else 'dog'}")
    path = tmp_path / "pets" / "d.csv"
    path.write_text("\n".join(["image,label", *rows]))
    return path


def greys(splits) -> list[int]:
    """Return the first value of every row, in the order of the rows of the training split."""
    rows = [splits.raw(name)[i] for name in ("train", "eval") for i in range(splits.sizes[name])]
    return [int(row["image"][0, 0, 0]) for row in sorted(rows, key=lambda row: row["row"])]


def replaced(path, grey: int, how: str) -> None:
    """Replace a picture by another of the same size in bytes and the same time of writing."""
    before, new = os.stat(path), path.with_name("new.bmp")
    flat(grey, new)
    assert new.stat().st_size == before.st_size
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "moved over it":
        new.rename(path)
    else:
        path.write_bytes(new.read_bytes())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("how", ["moved over it", "written into it"])
@pytest.mark.parametrize("is_old", [True, False], ids=["old", "just written"])
def test_replaced_pictures_are_seen(table, build, said, monkeypatch, how, is_old):
    if is_old:
        monkeypatch.setattr(file_states, "RACY_NS", 0)
    first = build(table)
    assert greys(first) == [0, 10, 20, 30, 40, 50, 60, 70]
    said()
    for i in (1, 5, 6):
        replaced(table.parent / "pics" / f"{i}.bmp", 200 + i, how)
    second = build(table)
    assert greys(second) == [0, 201, 20, 30, 40, 205, 206, 70]
    assert f"3 of 8 files behind {table} changed since they were prepared: preparing train again" in said()
    assert first.fingerprint != second.fingerprint


def test_a_change_within_one_tick_of_the_clock_is_seen(table, build, monkeypatch):
    """Times that do not move: nothing but the content tells the files apart."""
    build(table)
    real = os.stat(table.parent / "pics" / "2.bmp")
    replaced(table.parent / "pics" / "2.bmp", 202, "written into it")
    monkeypatch.setattr(
        file_states.os, "stat", lambda path, **kw: real if str(path).endswith("/2.bmp") else os.lstat(path)
    )
    assert greys(build(table))[2] == 202


def test_comparing_by_content_minds_no_times(table, build, decoded, said):
    first = build(table, compare_files="content")
    for i in range(8):
        os.utime(table.parent / "pics" / f"{i}.bmp")
    assert build(table, compare_files="content").fingerprint == first.fingerprint
    assert len(decoded) == 8
    replaced(table.parent / "pics" / "2.bmp", 202, "written into it")
    assert greys(build(table, compare_files="content"))[2] == 202
    assert "1 of 8 files behind" in said()


def test_other_labels_need_no_other_pixels(table, build, decoded):
    first = build(table)
    table.write_text(table.read_text().replace("3.bmp,cat", "3.bmp,dog"))
    second = build(table)
    assert len(decoded) == 8
    assert first.fingerprint != second.fingerprint


def test_other_rows_are_prepared_and_the_old_ones_go(table, build, cache, decoded):
    build(table)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[:0:-1]]))
    assert greys(build(table)) == [70, 60, 50, 40, 30, 20, 10, 0]
    assert len(decoded) == 16
    assert len(list(cache.glob("*.arrow"))) == 1
    assert len(list(cache.glob("*.npy"))) == 1


def test_a_copy_has_the_same_fingerprint(tmp_path, table, build):
    """As a value: a digest that took in a name or a time, or another hash, would break old checkpoints."""
    first = build(table)
    shutil.copytree(table.parent, tmp_path / "copy")
    for path in (tmp_path / "copy" / "pics").iterdir():
        os.utime(path, (0, 0))
    assert build(tmp_path / "copy" / "d.csv").fingerprint == first.fingerprint == "a5dd30ba7756df8c"


def test_a_repaired_picture_comes_back(table, build, said):
    whole = (table.parent / "pics" / "3.bmp").read_bytes()
    (table.parent / "pics" / "3.bmp").write_bytes(whole[:40])
    assert build(table, bad_rows="drop").dropped["train"][0][0] == 3
    (table.parent / "pics" / "3.bmp").write_bytes(whole)
    assert not build(table, bad_rows="drop").dropped
    assert "1 of 8 files" in said()


def test_a_picture_that_appears_or_goes_is_seen(table, build):
    away = (table.parent / "pics" / "3.bmp").rename(table.parent / "away.bmp")
    assert build(table, bad_rows="drop").dropped["train"] == [(3, "no such file: pics/3.bmp")]
    away.rename(table.parent / "pics" / "3.bmp")
    assert not build(table, bad_rows="drop").dropped
    (table.parent / "pics" / "4.bmp").unlink()
    assert [row for row, _ in build(table, bad_rows="drop").dropped["train"]] == [4]


def test_rows_are_tried_again_where_the_files_are_the_same(table, build, monkeypatch, said):
    """A decoder that was not installed yesterday may be today."""
    real = images.decode_image

    def lacks_a_codec(value, folders=()):
        if str(value).endswith("3.bmp"):
            raise ValueError("no codec")
        return real(value, folders)

    monkeypatch.setattr(images, "decode_image", lacks_a_codec)
    assert build(table, bad_rows="drop").dropped["train"] == [(3, "pics/3.bmp: no codec")]
    monkeypatch.setattr(images, "decode_image", real)
    said()
    assert not build(table, bad_rows="drop").dropped
    assert f"1 row of {table} that could not be used can be now: preparing train again" in said()


def test_an_archive_is_the_state_of_its_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.png", b"1")
    names = [f"zip://x.png::{tmp_path}/a.zip", "https://example.org/y.bmp", None, "gone\0.bmp"]
    first = file_states.read_states(names, ())
    assert first.table[:, file_states.SIZE].tolist() == [(tmp_path / "a.zip").stat().st_size, 0, 0]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.png", b"22")
    assert file_states.read_states(names, ()).count_changes(first.table, "times") == 1


def test_a_saved_data_set_that_was_written_anew_is_seen(tmp_path, labelled, build):
    labelled([0, 1] * 5).save_to_disk(tmp_path / "saved")
    first = build(tmp_path / "saved")
    state = (tmp_path / "saved" / "state.json").read_bytes()
    shutil.rmtree(tmp_path / "saved")
    labelled([0, 1] * 5, seed=1).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_bytes(state)
    assert build(tmp_path / "saved").fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("*.arrow", lambda content: content[:500]),
        ("*.arrow", lambda content: b""),
        ("*.arrow", lambda content: content[:1500] + b"\xff" * 16 + content[1516:]),
        ("*.npy", lambda content: content[:100]),
        ("*.json", lambda content: content[:20]),
        ("*.json", lambda content: b"[]"),
    ],
)
def test_damage_is_noticed_and_mended(table, build, cache, said, kind, damage):
    fingerprint = build(table).fingerprint
    said()
    (file,) = cache.glob(kind)
    content = file.read_bytes()
    file.write_bytes(damage(content))
    assert file.read_bytes() != content
    assert build(table).fingerprint == fingerprint
    assert f"of {table} are damaged in {cache}: preparing train again" in said()
    assert build(table).fingerprint == fingerprint
    assert "again" not in said()


def test_what_a_killed_run_left_is_cleared_away(table, build, cache):
    build(table)
    (name,) = [file.stem for file in cache.glob("*.json")]
    (cache / f"{name}.json").unlink()
    (cache / f"{name}.0123.part").mkdir()
    (cache / f"{name}.0123.part" / "tmp1").write_text("half")
    (cache / f"{name}-0123-0.arrow").write_text("whole, but not listed")
    assert greys(build(table))[:2] == [0, 10]
    assert not list(cache.glob("*.part"))
    assert [file.name for file in cache.glob("*.arrow") if file.stat().st_size < 100] == []


def test_two_runs_at_once_prepare_once(table, build, cache, decoded, monkeypatch):
    from hf_finetune.data import cache as module

    real, others = module._make, []

    def slow(folder, key, make):
        real(folder, key, make)
        monkeypatch.setattr(module, "_make", real)
        others.append(len(decoded))

    # the second comes between the first look of the other and its lock
    real_lock = module.lock_table

    def after_another(path, name):
        monkeypatch.setattr(module, "lock_table", real_lock)
        build(table)
        return real_lock(path, name)

    monkeypatch.setattr(module, "_make", slow)
    monkeypatch.setattr(module, "lock_table", after_another)
    assert greys(build(table))[:2] == [0, 10]
    assert len(decoded) == 8


def test_rows_that_are_read_stay(table, build, cache):
    first = build(table)
    (old,) = cache.glob("*.arrow")
    flat(99, table.parent / "pics" / "1.bmp")
    second = build(table)
    assert len(list(cache.glob("*.arrow"))) == 2
    assert (greys(first)[1], greys(second)[1]) == (10, 99)
    del first, second
    gc.collect()
    flat(98, table.parent / "pics" / "1.bmp")
    build(table)
    assert len(list(cache.glob("*.arrow"))) == 1
    assert not old.exists()


def test_a_folder_that_cannot_be_written(table, build, cache, monkeypatch):
    cache.parent.mkdir(exist_ok=True)
    build(table)
    shutil.rmtree(cache)
    cache.write_text("a file in its place")
    with pytest.raises(
        DataError, match=r"hf_finetune: the prepared data cannot be written.*HF_DATASETS_CACHE"
    ):
        build(table)


def test_a_full_disk(table, build, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets.Dataset, "map", full)
    with pytest.raises(DataError, match=r"the disk is full.*Free some space, or set HF_DATASETS_CACHE"):
        build(table)


@pytest.mark.parametrize("kind", ["saved", "jsonl", "parquet", "folder"])
def test_replaced_pictures_are_seen_behind_every_kind_of_table(tmp_path, build, kind):
    root = tmp_path / "pets"
    names = [f"{label}/{i}.bmp" for label in ("cat", "dog") for i in range(4)]
    for i, name in enumerate(names):
        flat(10 * i, root / name)
    rows = datasets.Dataset.from_dict({"image": names, "label": [name[:3] for name in names]})
    if kind == "parquet":
        # a struct of bytes and path; relative, beside the table
        rows = rows.map(lambda row: {"image": {"bytes": None, "path": row["image"]}})
        rows = rows.cast_column("image", datasets.Image(decode=False))
    path = {"saved": root, "jsonl": root / "d.jsonl", "parquet": root / "d.parquet", "folder": root}[kind]
    if kind == "saved":
        rows.save_to_disk(root)
    elif kind == "jsonl":
        rows.to_json(path)
    elif kind == "parquet":
        pq.write_table(rows.with_format("arrow")[:], path)  # `to_parquet` would take the pictures in
    first = build(path)
    replaced(root / "dog" / "1.bmp", 205, "moved over it")
    second = build(path)
    assert (greys(first)[5], greys(second)[5]) == (50, 205)
    assert first.fingerprint != second.fingerprint
