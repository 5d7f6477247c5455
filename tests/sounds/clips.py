"""Clips whose class can be heard: a low tone, a high tone, noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

NAMES = ("high", "low", "noise")
RATE = 16000


def make_clip(kind: str, seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a clip, float32 [N]; its loudness and pitch vary."""
    time = np.arange(round(seconds * rate)) / rate
    noise = rng.standard_normal(len(time))
    if kind == "noise":
        return (0.1 * noise).astype(np.float32)
    pitch = {"low": 400, "high": 1600}[kind] * rng.uniform(0.8, 1.25)
    loudness = rng.uniform(0.1, 0.5)
    return (loudness * np.sin(2 * np.pi * pitch * time) + 0.01 * noise).astype(np.float32)


def write_folder(
    folder: Path,
    *,
    num: dict[str, int] | None = None,
    seconds: tuple[float, float] = (0.3, 0.9),
    rate: int = RATE,
    kind: str = "wav",
) -> Path:
    """Write an audiofolder: split / class / file; `num` is the number of clips of each split."""
    rng = np.random.default_rng(0)
    for split, count in (num or {"train": 42, "test": 15}).items():
        for i in range(count):
            name = NAMES[i % 3]
            clip = make_clip(name, rng.uniform(*seconds), rate, rng)
            path = folder / split / name / f"{i:03}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, clip, rate)
    return folder
