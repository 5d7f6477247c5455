"""Speech by espeak-ng: the same bytes each time, voices that differ, splits without a voice in common."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPTS = Path(__file__).parents[2] / "recipes" / "quickstart_speech"
SMALL = """
from pathlib import Path
from speak import VOICES, draw_utterances, write_folder
rows = {split: draw_utterances(["yes", "go"], VOICES[split], seed=1) for split in VOICES}
write_folder(Path("spoken"), rows, rate=8000, num_bits=12)
"""


def run_python(code: str, folder: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run Python that finds the scripts, in a folder which is its home, too."""
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(SCRIPTS), **changed}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=folder, capture_output=True, text=True, check=False
    )


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_bytes_come_out_each_time(espeak, tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        done = run_python(SMALL, tmp_path / name)
        assert done.returncode == 0, done.stderr
        made.append(read_all(tmp_path / name / "spoken"))
    assert made[0] == made[1]
    assert len(made[0]) == 9, "metadata and two clips of each of three splits"
    wave, rate = soundfile.read(tmp_path / "one" / "spoken" / "test" / "0000.flac", dtype="int16")
    assert rate == 8000
    assert not (wave % 16).any(), "12 bits"
    assert 0.2 < len(wave) / rate < 1.0
    table = (tmp_path / "one" / "spoken" / "test" / "metadata.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["file_name"], row["text"]) for row in rows] == [("0000.flac", "yes"), ("0001.flac", "go")]
    # what is there is taken as it is
    before = (tmp_path / "one" / "spoken").stat().st_mtime_ns
    assert run_python(SMALL, tmp_path / "one").returncode == 0
    assert (tmp_path / "one" / "spoken").stat().st_mtime_ns == before


def test_every_voice_is_another_and_in_one_split_only(espeak, tmp_path):
    code = """
import hashlib
from speak import MORE_VOICES, VOICES, Utterance, speak_all
voices = [voice for split in VOICES.values() for voice in split] + MORE_VOICES
speakers = [voice.split("+")[1] for voice in voices]
said = speak_all([Utterance("seven", voice, 150, 50) for voice in voices])
print(len(voices), len(set(speakers)), len({hashlib.sha256(wave).hexdigest() for wave in said}))
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["60"] * 3


@pytest.mark.parametrize(
    ("folder", "num_rows", "num_texts", "num_voices"),
    [
        ("espeak-words-v2", [1500, 120, 300], [10, 10, 10], 60),
        ("espeak-sentences-v1", [840, 40, 80], [280, 40, 80], 26),
    ],
)
def test_what_is_said_in_the_splits(folder, num_rows, num_texts, num_voices, tmp_path):
    (tmp_path / ".cache" / "hf-finetune" / folder).mkdir(parents=True)  # so nothing is made
    script = folder.split("-")[1]
    code = f"""
from {script} import plan_splits
splits = plan_splits()
print([len(rows) for rows in splits.values()])
print([len({{one.text for one in rows}}) for rows in splits.values()])
print(len({{one.text for rows in splits.values() for one in rows}}))
print(len({{one.voice for rows in splits.values() for one in rows}}))
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    num_all = 10 if script == "words" else sum(num_texts)  # the same words, but other sentences
    assert done.stdout.splitlines() == [str(num_rows), str(num_texts), str(num_all), str(num_voices)]


def test_without_espeak_it_says_how_to_get_it(tmp_path):
    done = run_python("import words", tmp_path, PATH="")
    assert done.returncode == 1
    assert "apt-get install espeak-ng" in done.stderr
    assert not (tmp_path / ".cache" / "hf-finetune" / "espeak-words-v2").exists()


def test_a_word_that_cannot_be_said_is_named(espeak, tmp_path):
    done = run_python("from speak import *; speak(Utterance('', 'en-us+m1', 150, 50))", tmp_path)
    assert "espeak-ng cannot say '' as en-us+m1" in done.stderr


@pytest.mark.slow
def test_the_shipped_clips_are_made_again_byte_for_byte(espeak, tmp_path):
    """By the version of espeak-ng that made them, 1.51; another one speaks a little differently."""
    version = subprocess.run([espeak, "--version"], capture_output=True, text=True, check=True).stdout
    if "1.51" not in version:
        pytest.skip(f"espeak-ng is not 1.51: {version}")
    subprocess.run([sys.executable, SCRIPTS / "make_clips.py", "--output", tmp_path / "clips"], check=True)
    assert read_all(tmp_path / "clips") == read_all(SCRIPTS / "clips")


def test_the_shipped_clips_are_small_and_audible():
    clips = sorted((SCRIPTS / "clips").rglob("*.flac"))
    assert len(clips) == 200
    assert sum(path.stat().st_size for path in clips) < 700_000
    for path in clips[::20]:
        assert np.abs(soundfile.read(path)[0]).max() > 0.1
