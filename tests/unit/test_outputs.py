"""Where predictions go: files whole or not at all, links kept, devices and pipes written through."""

from __future__ import annotations

import csv
import json
import os
import stat
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hf_finetune.errors import UserError
from hf_finetune.predicting.outputs import Output

ROW = {"file": "a.png", "prediction": "red", "probability": 0.5}


def write(path: Path, *rows: dict, **options) -> None:
    with Output(path, **options) as sink:
        for row in rows or [ROW]:
            sink.write(row)


def read_csv(path: Path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_half(path: Path) -> None:
    with Output(path, kind="jsonl", overwrite=True) as sink:
        sink.write(ROW)
        raise RuntimeError


def write_much(sink: Output) -> None:
    with sink:
        for _ in range(10_000):
            sink.write(ROW)


def test_a_link_stays_one_and_its_file_is_replaced_whole(tmp_path):
    (tmp_path / "real.jsonl").write_text("old\n")
    (tmp_path / "real.jsonl").chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to("real.jsonl")
    with pytest.raises(UserError, match=r"link: the file is there\. Replace it by --overwrite"):
        Output(link, kind="jsonl")
    with pytest.raises(RuntimeError):
        write_half(link)
    assert link.read_text() == "old\n"
    write(link, kind="jsonl", overwrite=True)
    assert link.is_symlink()
    assert json.loads((tmp_path / "real.jsonl").read_text()) == ROW
    assert stat.S_IMODE((tmp_path / "real.jsonl").stat().st_mode) == 0o600
    (tmp_path / "new").symlink_to("made.csv")
    write(tmp_path / "new", kind="csv")
    assert (tmp_path / "made.csv").read_text() == "file,prediction,probability\na.png,red,0.5\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "made.csv", "new", "real.jsonl"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_pipe_is_written_through(tmp_path, kind):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe, kind=kind)
    reader.join(10)
    (tmp_path / "copy").write_bytes(got[0])
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    if kind == "parquet":
        assert pq.read_table(tmp_path / "copy").to_pylist() == [ROW]
    else:
        assert got[0].decode().splitlines()[-1] == (json.dumps(ROW) if kind == "jsonl" else "a.png,red,0.5")


def test_devices_need_neither_a_format_nor_overwrite(capfd):
    before = os.stat("/dev/null")
    write(Path("/dev/null"))
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    write(Path("/dev/stdout"))
    assert json.loads(capfd.readouterr().out) == ROW


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_full_disk_is_named(kind):
    with pytest.raises(UserError, match=r"^/dev/full: the disk is full\. Free some space") as caught:
        write(Path("/dev/full"), kind=kind)
    assert caught.value.exit_code == 2


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl").write_text("old\n")
    sink = Output(tmp_path / "x.jsonl", overwrite=True)
    part = sink.place.make_part
    monkeypatch.setattr(sink.place, "make_part", lambda: part() and Path("/dev/full"))
    monkeypatch.setattr(sink.place, "open_text", lambda: sink.place.make_part().open("w"))
    with pytest.raises(UserError, match="the disk is full"):
        write_much(sink)
    assert (tmp_path / "x.jsonl").read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_formulas_are_neutralised_on_request_and_numbers_are_not(tmp_path):
    rows = [
        {"file": name, "prediction": "=1+1", "score": -0.5} for name in ("+a", "-b", "@c", "d=e", "\u002b")
    ]
    write(tmp_path / "plain.csv", *rows)
    write(tmp_path / "safe.csv", *rows, csv_safe=True)
    plain, safe = (read_csv(tmp_path / name) for name in ("plain.csv", "safe.csv"))
    assert [row["file"] for row in plain] == ["+a", "-b", "@c", "d=e", "+"]
    assert [row["file"] for row in safe] == ["'+a", "'-b", "'@c", "d=e", "'+"]
    assert {row["prediction"] for row in safe} == {"'=1+1"}
    assert {row["score"] for row in safe} == {"-0.5"}
    with pytest.raises(UserError, match="--csv-safe is for csv, and this is jsonl"):
        Output(tmp_path / "x.jsonl", csv_safe=True)


def test_no_control_character_gets_into_a_file(tmp_path):
    name, word = "a\x1b[31m\n\0\udce9\u009b.png", "one\ntwo\0\u009b"
    for suffix in ("jsonl", "csv", "parquet"):
        write(tmp_path / f"x.{suffix}", {"file": name, "prediction": word, "probabilities": {word: 0.5}})
    raw = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert raw.strip().isprintable()
    assert json.loads(raw) == {"file": name, "prediction": word, "probabilities": {word: 0.5}}
    shown, said = r"a\x1b[31m\x0a\x00\xe9\x9b.png", "one\ntwo\\x00\\x9b"
    row = pq.read_table(tmp_path / "x.parquet").to_pylist()[0]
    assert row == {"file": shown, "prediction": said, "probabilities": {said: 0.5}}
    assert read_csv(tmp_path / "x.csv")[0] == {
        "file": shown,
        "prediction": said,
        f"probabilities.{said}": "0.5",
    }


def test_signed_urls_are_written_without_their_signature(tmp_path):
    write(tmp_path / "x.jsonl", ROW | {"file": "https://h/a.png?sig=planted&v=1"})
    assert json.loads((tmp_path / "x.jsonl").read_text())["file"] == "https://h/a.png?sig=(hidden)&v=1"
