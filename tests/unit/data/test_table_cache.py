"""The tables that `datasets` keeps are read again where their files changed, and where they are damaged."""

import json
import logging
import os
import shutil
import zipfile
from pathlib import Path

import datasets
import pytest

from hf_finetune.data.table_cache import load_tables


def load(path, kind: str) -> list[int]:
    return load_tables(kind, place=path.name, data_files=str(path))["train"]["a"][:]


def write(path, *values: int) -> None:
    if path.suffix == ".parquet":
        datasets.Dataset.from_dict({"a": list(values)}).to_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"a": value}) + "\n" for value in values))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("in.csv", "\n".join(["a", *map(str, values)]))
    else:
        path.write_text("\n".join(["a", *map(str, values)]))


def write_with_the_old_time(path, *values: int) -> None:
    before = path.stat()
    write(path, *values)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


KINDS = [("d.csv", "csv"), ("d.jsonl", "json"), ("d.parquet", "parquet"), ("d.zip", "csv")]


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_change_with_the_old_time_is_seen(tmp_path, caplog, name, kind):
    write(tmp_path / name, 1, 2)
    assert load(tmp_path / name, kind) == [1, 2]
    write_with_the_old_time(tmp_path / name, 1, 3)
    assert load(tmp_path / name, kind) == [1, 3]
    assert f"1 of 1 files of {name} changed since they were read: reading again" in caplog.messages
    caplog.clear()
    assert load(tmp_path / name, kind) == [1, 3]
    assert not caplog.messages


def test_metadata_of_a_folder_that_change_with_the_old_time_are_seen(tmp_path, pictures):
    folder = tmp_path / "pets"
    folder.mkdir()
    pictures(1)[0].save(folder / "1.png")
    (folder / "metadata.csv").write_text("file_name,a\n1.png,7\n")
    assert load_tables(str(folder), place="pets")["train"]["a"][:] == [7]
    before = (folder / "metadata.csv").stat()
    (folder / "metadata.csv").write_text("file_name,a\n1.png,8\n")
    os.utime(folder / "metadata.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_tables(str(folder), place="pets")["train"]["a"][:] == [8]


DAMAGES = [
    ("csv-train.arrow", lambda content: content[:300]),
    ("csv-train.arrow", lambda content: b""),
    ("csv-train.arrow", None),
    ("dataset_info.json", lambda content: content[:50]),
    ("dataset_info.json", lambda content: b""),
    ("dataset_info.json", lambda content: b"\x84" + content[1:]),
]
FLIPPED = ("csv-train.arrow", lambda content: content.replace(b"\x39\x30\0\0", b"\x38\x30\0\0"))


@pytest.mark.parametrize(
    ("is_noted", "file", "damage"),
    # of a table of another program nothing is known that tells a flipped bit
    [*((True, *one) for one in [*DAMAGES, FLIPPED]), *((False, *one) for one in DAMAGES)],
)
def test_damaged_tables_are_made_again(tmp_path, caplog, is_noted, file, damage):
    write(tmp_path / "d.csv", 12345, 2)
    made = load_tables("csv", place="d.csv", data_files=str(tmp_path / "d.csv"))["train"]
    target = Path(made.cache_files[0]["filename"]).with_name(file)
    if not is_noted:
        shutil.rmtree(tmp_path / "cache" / "hf_finetune")
    content = target.read_bytes()
    if damage is None:
        target.unlink()
    else:
        target.write_bytes(damage(content))
        assert target.read_bytes() != content
    assert load(tmp_path / "d.csv", "csv") == [12345, 2]
    assert "damaged" in caplog.text
    caplog.clear()
    assert load(tmp_path / "d.csv", "csv") == [12345, 2]
    assert not caplog.messages


def test_tables_of_another_program_are_taken_unless_a_file_is_newer(tmp_path, caplog):
    write(tmp_path / "d.csv", 1, 2)
    options = {"data_files": str(tmp_path / "d.csv")}
    caplog.set_level(logging.WARNING)
    datasets.load_dataset("csv", cache_dir=str(datasets.config.HF_DATASETS_CACHE), **options)
    assert load(tmp_path / "d.csv", "csv") == [1, 2]
    assert not caplog.messages
    shutil.rmtree(tmp_path / "cache" / "hf_finetune")
    write_with_the_old_time(tmp_path / "d.csv", 1, 3)
    assert load(tmp_path / "d.csv", "csv") == [1, 3]
