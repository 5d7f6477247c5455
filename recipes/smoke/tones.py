"""Sentences of tones: eight letters, a pitch each, spoken by nobody. A tiny model learns them in seconds.

A recipe imports this file, which writes the folder, and names `FOLDER` as its `data.path`. For tests: what
they check is that text comes out of sound, and that both engines do the same.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import datasets
import numpy as np
import soundfile

FOLDER = Path("~/.cache/hf-finetune/tones-v1")
"""A new name whenever what is written changes: what is there is taken as it is."""

LETTERS = "abcdefgh"
RATE = 16_000  # Hz
LETTER_S, GAP_S, SPACE_S = 0.09, 0.04, 0.10
NUM_ROWS = {"train": 160, "test": 24}
SPEAKERS = ("low", "high")


def build(folder: Path) -> None:
    """Write train.parquet and test.parquet, unless they are there; as a whole or not at all."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    features = datasets.Features(
        {
            "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "text": datasets.Value("string"),
            "speaker": datasets.Value("string"),
        }
    )
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        made = Path(staging) / folder.name
        made.mkdir()
        for split, num_rows in NUM_ROWS.items():
            rows = [draw_row(rng) for _ in range(num_rows)]
            columns = {name: [row[name] for row in rows] for name in features}
            datasets.Dataset.from_dict(columns, features=features).to_parquet(made / f"{split}.parquet")
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # it is when another process was faster
                raise


def draw_row(rng: np.random.Generator) -> dict[str, object]:
    """Return a sentence of one to three words of one to three letters, and the bytes of its file."""
    words = ["".join(rng.choice(list(LETTERS), rng.integers(1, 4))) for _ in range(rng.integers(1, 4))]
    speaker = str(rng.choice(SPEAKERS))
    file = io.BytesIO()
    soundfile.write(file, speak(" ".join(words), speaker, rng), RATE, format="WAV")
    return {"audio": {"bytes": file.getvalue(), "path": None}, "text": " ".join(words), "speaker": speaker}


def speak(text: str, speaker: str, rng: np.random.Generator) -> np.ndarray:
    """Return the sound of a sentence, float [N]: a tone for each letter, half a semitone up or down."""
    pieces = [silence(GAP_S)]
    for letter in text:
        if letter == " ":
            pieces.append(silence(SPACE_S))
            continue
        shift = {"low": 2 ** (-1 / 24), "high": 2 ** (1 / 24)}[speaker]
        pitch = 300 * 1.35 ** LETTERS.index(letter) * shift  # Hz
        time = np.arange(int(LETTER_S * RATE)) / RATE
        pieces += [np.hanning(len(time)) * np.sin(2 * np.pi * pitch * time), silence(GAP_S)]
    wave = np.concatenate(pieces)
    return 0.3 * wave + 0.01 * rng.standard_normal(len(wave))


def silence(seconds: float) -> np.ndarray:
    """Return zeros."""
    return np.zeros(int(seconds * RATE))


build(FOLDER.expanduser())
