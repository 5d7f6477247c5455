"""Speech made by espeak-ng (Debian's package), as folders that `datasets` reads: a flac file and a row each.

`words.py` and `sentences.py` beside this file say what is spoken. The voices of the splits are different
people, as far as a synthesizer has people: what is learnt must hold for a voice that was never heard. The
same bytes come out each time on one machine; another version of espeak-ng speaks a little differently.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

VOICES = {
    "train": [
        *("en-us+m1", "en+m2", "en-us+m4", "en-gb-scotland+m6", "en-029+m7", "en-us+Michael", "en+Denis"),
        *("en-us+caleb", "en-us+f1", "en+f2", "en-us+f4", "en-gb-scotland+f5", "en-029+linda", "en-us+Annie"),
        *("en+belinda", "en-us+steph"),
    ],
    "validation": ["en+m5", "en-us+Alex", "en-us+anika", "en-gb-x-rp+Alicia"],
    "test": ["en-us+m3", "en+m8", "en-gb-x-gbcwmd+Lee", "en-us+f3", "en+aunty", "en-us+Andrea"],
}
"""Accent and speaker; no speaker is in two splits. A voice that espeak-ng does not know (en-gb+m2 is one: its
British English is called en) it replaces by its usual one without a word: a test compares them."""

MORE_VOICES = [
    *("en-us+adam", "en+Andy", "en-us+benjamin", "en-029+boris", "en+david", "en-us+ed"),
    *("en-gb-scotland+edward", "en-us+Gene", "en+Henrique", "en-us+Hugo", "en-gb-x-rp+iven"),
    *("en-us+Jacky", "en+john", "en-us+max", "en-us+Mike", "en-029+paul", "en+quincy", "en-us+rob"),
    *("en-gb-x-gbclan+robert", "en-us+shelby", "en+travis", "en-us+victor", "en-us+zac"),
    *("en-us-nyc+norbert", "en+sandro", "en-us+grandma", "en-us+Mario", "en-us+pablo", "en+miguel"),
    *("en-us+antonio", "en-us+marcelo", "en-us+steph2", "en-us+RicishayMax2", "en+RicishayMax3"),
]
"""More people for a training split that wants many; none of them is in a split of `VOICES`."""

SPEEDS, PITCHES = (120, 200), (25, 75)
"""Words a minute, and espeak-ng's scale from 0 to 99; lowest and highest."""
RATE = 16_000  # Hz, what speech models want
MADE_RATE, HEADER_BYTES = 22_050, 44  # of what espeak-ng writes
QUIET, MARGIN_S = 0.005, 0.03


@dataclass(frozen=True)
class Utterance:
    """What is said, and how.

    Args:
        text: Words.
        voice: Accent and speaker, such as "en-us+m1".
        speed: Words a minute.
        pitch: 0 to 99.
    """

    text: str
    voice: str
    speed: int
    pitch: int


def draw_utterances(texts: Iterable[str], voices: Sequence[str], *, seed: int) -> list[Utterance]:
    """Give each text a voice, one after the other, and a random speed and pitch."""
    rng = np.random.default_rng(seed)
    speeds, pitches = ((low, high + 1) for low, high in (SPEEDS, PITCHES))
    return [
        Utterance(text, voices[i % len(voices)], int(rng.integers(*speeds)), int(rng.integers(*pitches)))
        for i, text in enumerate(texts)
    ]


def speak(utterance: Utterance, *, rate: int = RATE) -> np.ndarray:
    """Return the sound of an utterance, float32 [N] at `rate`, without the silence around it.

    Raises:
        RuntimeError: espeak-ng is not installed, or does not know the voice.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise RuntimeError(
            "espeak-ng is not installed, and it makes the speech of this recipe. On Debian or Ubuntu: "
            "apt-get install espeak-ng. recipes/quickstart_speech.yaml does without: its clips are shipped."
        )
    how = ["-v", utterance.voice, "-s", str(utterance.speed), "-p", str(utterance.pitch)]
    done = subprocess.run([program, *how, "--stdout", "--", utterance.text], capture_output=True, check=False)
    samples = np.frombuffer(done.stdout[HEADER_BYTES:], "<i2")  # a stream's header does not know its length
    if done.returncode or not samples.any():
        said = done.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"espeak-ng cannot say {utterance.text!r} as {utterance.voice}: {said}")
    wave = soxr.resample(samples.astype(np.float32) / 32768, MADE_RATE, rate)
    loud = np.flatnonzero(np.abs(wave) > QUIET)
    margin = round(MARGIN_S * rate)
    return wave[max(loud[0] - margin, 0) : loud[-1] + margin]


def speak_all(utterances: Sequence[Utterance], *, rate: int = RATE) -> list[np.ndarray]:
    """Return the sounds of many utterances, in their order, one espeak-ng a core at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda utterance: speak(utterance, rate=rate), utterances))


def write_folder(
    folder: Path, splits: Mapping[str, Sequence[Utterance]], *, rate: int = RATE, num_bits: int = 16
) -> None:
    """Write `<split>/metadata.csv` and `<split>/0000.flac` ..., unless the folder is there.

    They are written beside the folder's place and renamed: several processes may do this at once, and one
    that dies leaves nothing half done.

    Args:
        folder: To be made; `datasets` reads it as an audiofolder.
        splits: Name of a split to its rows.
        rate: In Hz.
        num_bits: Of a sample; fewer than 16 make smaller files.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        made = Path(staging) / folder.name
        for split, utterances in splits.items():
            _write_split(made / split, utterances, rate=rate, num_bits=num_bits)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # it is when another process was faster
                raise


def _write_split(folder: Path, utterances: Sequence[Utterance], *, rate: int, num_bits: int) -> None:
    folder.mkdir(parents=True)
    steps = 2 ** (num_bits - 1)
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["file_name", "text", "voice", "speed", "pitch"])
        for i, (one, wave) in enumerate(zip(utterances, speak_all(utterances, rate=rate), strict=True)):
            name = f"{i:04d}.flac"
            rounded = np.clip(np.round(wave * steps), -steps, steps - 1) / steps
            soundfile.write(folder / name, rounded, rate, subtype="PCM_16", compression_level=1.0)
            rows.writerow([name, one.text, one.voice, one.speed, one.pitch])
