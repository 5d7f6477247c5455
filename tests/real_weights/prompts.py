"""Real speech with transcripts: the prompts of Debian's `asterisk-core-sounds-en-wav` (CC-BY-SA)."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import numpy as np
import soundfile

from real_weights.fetch import fetch_debian

SOUNDS = Path("usr/share/asterisk/sounds/en_US_f_Allison")
TRANSCRIPTS = Path("usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
MIN_S, MAX_S = 1.0, 8.0
EVERY = {"validation": (1, 8), "test": (5, 8)}
"""Of the prompts in the order of their names: every eighth to each of the two, the rest to train."""


def save_prompts(folder: Path, *, snr_db: float | None = None) -> dict[str, int]:
    """Write one csv a split with the columns audio (a path) and text; return the numbers of rows.

    With `snr_db` every clip is written, too, with white noise that much below it.
    """
    sounds = fetch_debian("asterisk-core-sounds-en-wav") / SOUNDS
    rows = list(read_transcripts(fetch_debian("asterisk-core-sounds-en") / TRANSCRIPTS, sounds))
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    for number, row in enumerate(rows):
        split = next((name for name, (rest, by) in EVERY.items() if number % by == rest), "train")
        splits[split].append(row)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, chosen in splits.items():
        if snr_db is not None:
            places = [folder / f"{split}-{row:03d}.wav" for row in range(len(chosen))]
            for (path, _), place in zip(chosen, places, strict=True):
                _save_noisy(path, place, snr_db, rng)
            chosen = [(str(place), text) for place, (_, text) in zip(places, chosen, strict=True)]
        with open(folder / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("audio", "text"), *chosen])
    return {split: len(chosen) for split, chosen in splits.items()}


def read_transcripts(transcripts: Path, sounds: Path) -> list[tuple[str, str]]:
    """Return path and text of every prompt of a usual length that is speech: "[beep]" is none."""
    found = {}
    for line in gzip.decompress(transcripts.read_bytes()).decode("utf-8").splitlines():
        name, _, text = line.partition(": ")
        path = sounds / f"{name}.wav"
        if line.startswith(";") or not text or "[" in text or "(" in text or not path.is_file():
            continue
        if MIN_S <= soundfile.info(path).duration <= MAX_S:
            found[str(path)] = re.sub(r"\s+", " ", text).strip()
    return sorted(found.items())


def _save_noisy(path: str, place: Path, snr_db: float, rng: np.random.Generator) -> None:
    wave, rate = soundfile.read(path, dtype="float32")
    noise = rng.standard_normal(len(wave))
    noise *= np.sqrt(np.mean(wave**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    soundfile.write(place, wave + noise, rate, subtype="FLOAT")
