"""predict: files, folders and tables in; JSON lines, csv and parquet out; nothing lost, nothing silent."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hf_finetune import UserError, predict


@pytest.fixture(scope="session")
def files(workshop: Path) -> list[Path]:
    return sorted((workshop / "digits" / "test").rglob("*.png"))


def read_kept(run: Path) -> list[dict]:
    return pq.read_table(run / "predictions" / "test.parquet").to_pylist()


def test_a_data_set_gives_the_rows_of_the_run(hf_finetune, unbroken, workshop, tmp_path):
    data = str(workshop / "digits")
    done = hf_finetune("predict", str(unbroken), data, "--split", "test", "--output", "rows.parquet")
    assert done.code == 0, done.err
    said, kept = pq.read_table(tmp_path / "rows.parquet").to_pylist(), read_kept(unbroken)
    assert [row["row"] for row in said] == [row["row"] for row in kept]
    assert [row["prediction"] for row in said] == [row["prediction"] for row in kept]
    for one, other in zip(said, kept, strict=True):
        assert list(one["probabilities"].values()) == pytest.approx(other["probabilities"], abs=1e-6)


def test_formats_say_the_same(unbroken, files, tmp_path):
    for suffix in ("jsonl", "csv", "parquet"):
        assert predict(unbroken, files[:5], output=tmp_path / f"said.{suffix}", batch_size=2) == 0
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files[:5]]
    assert pq.read_table(tmp_path / "said.parquet").to_pylist() == lines
    with (tmp_path / "said.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == [line["prediction"] for line in lines]
    assert [float(row["probabilities.7"]) for row in rows] == [line["probabilities"]["7"] for line in lines]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["said.csv", "said.jsonl", "said.parquet"]


def test_a_table_of_names_starts_at_its_own_folder(unbroken, files, tmp_path, caplog):
    shutil.copy(files[0], tmp_path / "one.png")
    (tmp_path / "table.csv").write_text("picture,note\none.png,fine\nmissing.png,gone\n")
    assert predict(unbroken, tmp_path / "table.csv", output=tmp_path / "said.jsonl") == 1
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [(row["row"], row["file"]) for row in said] == [(0, "one.png")]
    assert "missing.png: skipped: no such file" in caplog.text
    assert predict(unbroken, tmp_path / "table.csv", split="train[:1]", output=tmp_path / "first.jsonl") == 0


def test_hidden_files_are_left_alone_and_bad_ones_named(hf_finetune, unbroken, files, tmp_path):
    folder = tmp_path / "folder"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache" / "x.png").write_text("hidden")
    (folder / "bad.png").write_text("no picture")
    (folder / "empty.png").touch()
    done = hf_finetune("predict", str(unbroken), str(folder), "--output", "said.jsonl")
    assert done.code == 3
    assert "bad.png: skipped" in done.err
    assert "empty.png: skipped" in done.err
    assert "x.png" not in done.err
    assert "no file: there is nothing to write" in done.err
    assert not (tmp_path / "said.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["nowhere at all", "x.png"],
            "nowhere at all: there is no such folder. Name a run folder, or owner/name",
        ),
        (["{file}", "x.png"], "this is a file. Name the folder of a run"),
        (["{empty}", "x.png"], "there is no finished run. Train it first"),
        (["{run}", "{empty}"], "there is no file in"),
        (["{run}", "{file}", "--output", "{file}"], "the file is there. Replace it by --overwrite"),
        (["{run}", "{file}", "--output", "{empty}"], "this is a folder"),
        (["{run}", "{file}", "--output", "no/where.csv"], "there is no folder no. Make it first"),
        (["{run}", "{file}", "--output", "said.txt"], "said.txt is of no known format. Say --format"),
        (["{run}", "{file}", "--format", "xml"], "there is no format 'xml'"),
        (["{run}", "{file}", "--format", "parquet"], "parquet cannot go to the terminal"),
        (["{run}", "{file}", "--column", "image"], "--column is for data sets"),
        (["{run}", "{data}", "--split", "tset"], "no split 'tset'. Did you mean 'test'?"),
        (["{run}", "{data}", "{file}", "--split", "test"], "there are other words beside it"),
        (["{run}", "{data}", "--split", "test", "--column", "img"], "no column 'img'. Did you mean 'image'?"),
    ],
)
def test_what_is_wrong_is_said(hf_finetune, unbroken, workshop, files, tmp_path, words, told):
    (tmp_path / "empty").mkdir()
    places = {"run": unbroken, "data": workshop / "digits", "file": files[0], "empty": tmp_path / "empty"}
    done = hf_finetune("predict", *(word.format(**places) for word in words))
    assert done.code == 2, done.err
    assert told in done.err
    assert "Traceback" not in done.err


def test_an_error_leaves_what_was_there(unbroken, files, tmp_path, monkeypatch):
    (tmp_path / "said.jsonl").write_text("before\n")
    with pytest.raises(UserError, match="the file is there"):
        predict(unbroken, files[:1], output=tmp_path / "said.jsonl")
    from hf_finetune.predicting.predictor import Predictor

    def fail(self, values):
        raise MemoryError

    monkeypatch.setattr(Predictor, "answer", fail)
    with pytest.raises(MemoryError):
        predict(unbroken, files[:1], output=tmp_path / "said.jsonl", overwrite=True)
    assert (tmp_path / "said.jsonl").read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir()] == ["said.jsonl"]


def test_another_batch_size_gives_the_same_scores(hf_finetune, unbroken):
    first = json.loads((unbroken / "scores.json").read_text())["test"]
    done = hf_finetune("evaluate", str(unbroken), "training.per_device_eval_batch_size=7")
    assert done.code == 0, done.err
    again = json.loads(done.out)
    assert again["accuracy"] == first["accuracy"]
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-5)
