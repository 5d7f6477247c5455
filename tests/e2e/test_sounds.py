"""A whole run on sounds: what it leaves behind, and what it says about files."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile
import soxr

from hf_finetune import load_recipe, predict, run
from hf_finetune.runner import check

RECIPES = Path(__file__).parents[2] / "recipes"
CLIPS = RECIPES / "quickstart_speech" / "clips" / "test"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    words = ["training.max_steps=2", f"training.output_dir={tmp_path_factory.mktemp('runs') / 'sounds'}"]
    return run(load_recipe(RECIPES / "smoke" / "audio-classification.yaml", words)).folder


@pytest.fixture
def files(tmp_path):
    """Return a flac, the same clip as mp3 at 44.1 kHz in stereo, and one that is no sound."""
    shutil.copy(CLIPS / "0002.flac", tmp_path / "a.flac")
    clip, rate = soundfile.read(tmp_path / "a.flac", dtype="float32")
    louder = soxr.resample(clip, rate, 44100)[:, None].repeat(2, axis=1)
    soundfile.write(tmp_path / "b.mp3", louder, 44100)
    (tmp_path / "c.wav").write_text("no sound")
    return [tmp_path / name for name in ("a.flac", "b.mp3", "c.wav")]


def test_files_get_classes_with_probabilities_and_bad_ones_are_named(finished, files, caplog):
    output = files[0].with_name("answers.jsonl")
    with caplog.at_level(logging.WARNING):
        assert predict(finished.path, files, output=output, batch_size=2) == 1
    assert "c.wav" in caplog.text
    assert "not a sound file" in caplog.text
    first, second = map(json.loads, output.read_text().splitlines())
    assert [Path(answer["file"]).name for answer in (first, second)] == ["a.flac", "b.mp3"]
    for name, share in first["probabilities"].items():
        assert second["probabilities"][name] == pytest.approx(share, abs=0.02)
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_a_file_is_judged_as_its_row_was_window_by_window(finished, files):
    output = files[0].with_name("answers.jsonl")
    predict(finished.path, [files[0]], output=output)
    answer = json.loads(output.read_text())
    row = pq.read_table(finished.predictions("test")).to_pylist()[2]
    assert soundfile.info(files[0]).duration > 0.3  # of a window
    assert answer["prediction"] == row["prediction"]
    assert list(answer["probabilities"].values()) == pytest.approx(row["probabilities"], abs=1e-4)


def test_a_bad_file_makes_the_command_end_with_3(finished, files):
    output = files[0].with_name("answers.jsonl")
    command = [sys.executable, "-m", "hf_finetune", "predict", str(finished.path), *map(str, files)]
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert len(output.read_text().splitlines()) == 2


def test_the_worst_mistakes_can_be_heard(finished):
    rows = pq.read_table(finished.worst).to_pylist()
    assert 0 < len(rows) <= 24
    assert all(row["audio"][:4] == b"fLaC" for row in rows)
    page = (finished.path / "report.html").read_text()
    assert page.count("<audio controls") == len(rows)
    assert len(page) < 5_000_000


def test_how_much_is_padding_is_told(finished):
    recipe = load_recipe(RECIPES / "smoke" / "audio-classification.yaml")
    kept = json.loads(finished.scores.read_text())["train"]["padding"]
    (line,) = [line for line in check(recipe) if line.startswith("padding")]
    assert line == f"padding  {kept:.1%} of the inputs"
    assert f"{100 * kept:.1f} %" in (finished.path / "report.html").read_text()
