"""Augmentations of sounds: loudness, noise, other clips, position, speed, pitch.

They work on the wave at the model's sampling rate, before the feature extractor; so they are the same for
models of waves and of spectrograms. (Masks on the features, SpecAugment, are the model's own:
`mask_time_prob` and its kin in `model.config`.)

The code is our own, on numpy and soxr. audiomentations 0.43 (MIT, kept) draws from the global generators of
python and numpy and takes no other: a row would depend on what was drawn before it. It brings librosa, numba
and three packages in C++ as well. torch-audiomentations needs torchaudio.

Shapes: N samples of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import soxr

from hf_finetune.augment.base import (
    AUGMENTATIONS,
    Row,
    SoundAugmentation,
    check_choice,
    check_number,
)
from hf_finetune.augment.vocoder import stretch

__all__ = ["AddNoise", "Gain", "MixClips", "Pitch", "RandomClip", "Speed", "TimeShift"]


@AUGMENTATIONS.register("random_clip")
@dataclass(frozen=True, kw_only=True)
class RandomClip(SoundAugmentation):
    """Keep a random part of a clip that is longer than `seconds`.

    Args:
        seconds: Length of what is kept, 0.01 to 3600.
    """

    seconds: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("seconds", self.seconds, 0.01, 3600)

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return a part of the clip, or the clip."""
        size = round(self.seconds * rate)
        start = int(rng.integers(0, max(0, len(clip) - size), endpoint=True))
        return clip[start : start + size]


@AUGMENTATIONS.register("gain")
@dataclass(frozen=True, kw_only=True)
class Gain(SoundAugmentation):
    """Make a clip louder or softer. Models whose feature extractor normalises each clip do not notice.

    Args:
        decibels: Smallest and largest change, -60 to 60.
        p: Probability, 0 to 1.
    """

    pairs: ClassVar = {"decibels": (-60, 60)}
    decibels: Sequence[float] = (-12.0, 6.0)
    p: float = 0.5

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return the clip at another level; nothing is clipped."""
        return clip * np.float32(_ratio(draw(rng, self.decibels)))


@AUGMENTATIONS.register("add_noise")
@dataclass(frozen=True, kw_only=True)
class AddNoise(SoundAugmentation):
    """Add noise at a signal-to-noise ratio.

    Args:
        snr: Smallest and largest ratio of the clip's power to the noise's, in dB, -30 to 100.
        colour: white (the same power at every frequency) or pink (the same in every octave, as in rooms).
        p: Probability, 0 to 1.
    """

    pairs: ClassVar = {"snr": (-30, 100)}
    snr: Sequence[float] = (10.0, 40.0)
    colour: str = "white"
    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("colour", self.colour, ("white", "pink"))

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return the clip with noise."""
        ratio = draw(rng, self.snr)
        noise = rng.standard_normal(len(clip), np.float32)
        return _mix(clip, noise if self.colour == "white" else _make_pink(noise), ratio)


@AUGMENTATIONS.register("mix_clips")
@dataclass(frozen=True, kw_only=True)
class MixClips(SoundAugmentation):
    """Put another clip of the training split under this one, at a signal-to-noise ratio; the label stays.

    The other clip is repeated, or cut at a random place, to the length of this one.

    Args:
        snr: Smallest and largest ratio of this clip's power to the other's, in dB, -30 to 100.
        p: Probability, 0 to 1.
    """

    pairs: ClassVar = {"snr": (-30, 100)}
    snr: Sequence[float] = (5.0, 30.0)
    p: float = 0.5

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """Return the row with another one mixed in; `row["others"](rng)` draws it."""
        if rng.random() >= self.p:
            return row
        ratio = draw(rng, self.snr)
        clip, other = row["audio"], row["others"](rng)["audio"]
        start = int(rng.integers(0, max(0, len(other) - len(clip)), endpoint=True))
        return {**row, "audio": _mix(clip, np.resize(other[start:], len(clip)), ratio)}

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return the clip: one clip alone cannot be mixed."""
        return clip


@AUGMENTATIONS.register("time_shift")
@dataclass(frozen=True, kw_only=True)
class TimeShift(SoundAugmentation):
    """Move the sound earlier or later within its clip; what is pushed out is lost, what comes in is silence.

    Args:
        seconds: The shift is uniform in [-seconds, seconds]; 0 to 60, and never more than half of the clip.
        p: Probability, 0 to 1.
    """

    seconds: float = 0.1
    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("seconds", self.seconds, 0, 60)

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return a clip of the same length."""
        reach = min(round(self.seconds * rate), len(clip) // 2)
        by = int(rng.integers(-reach, reach, endpoint=True))
        moved = np.zeros_like(clip)
        moved[max(by, 0) : len(clip) + min(by, 0)] = clip[max(-by, 0) : len(clip) - max(by, 0)]
        return moved


@AUGMENTATIONS.register("speed")
@dataclass(frozen=True, kw_only=True)
class Speed(SoundAugmentation):
    """Play faster or slower: the length changes, and the pitch with it unless it is to be kept.

    Args:
        factor: Smallest and largest speed, 0.5 to 2.
        keep_pitch: Whether the pitch stays; costs twenty times as much.
        p: Probability, 0 to 1.

    Source: Ko et al. 2015, "Audio augmentation for speech recognition" (Interspeech), there 0.9, 1 and 1.1.
    """

    pairs: ClassVar = {"factor": (0.5, 2)}
    factor: Sequence[float] = (0.9, 1.1)
    keep_pitch: bool = False
    p: float = 0.5

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return N / factor samples."""
        factor = draw(rng, self.factor)
        return stretch(clip, factor) if self.keep_pitch else _resample(clip, factor)


@AUGMENTATIONS.register("pitch")
@dataclass(frozen=True, kw_only=True)
class Pitch(SoundAugmentation):
    """Play higher or lower at the same speed.

    Args:
        semitones: Lowest and highest shift, -12 to 12.
        p: Probability, 0 to 1.
    """

    pairs: ClassVar = {"semitones": (-12, 12)}
    semitones: Sequence[float] = (-2.0, 2.0)
    p: float = 0.5

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return a clip of the same length: stretched, then played as much faster."""
        factor = 2 ** (draw(rng, self.semitones) / 12)
        shifted = _resample(stretch(clip, 1 / factor), factor)
        return np.pad(shifted, (0, max(0, len(clip) - len(shifted))))[: len(clip)]


def draw(rng: np.random.Generator, pair: Sequence[float]) -> float:
    """Return a number drawn evenly between two."""
    return float(rng.uniform(pair[0], pair[1]))


def _ratio(decibels: Any) -> float:
    return float(10 ** (decibels / 20))


def _make_pink(noise: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(noise)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    pink: np.ndarray = np.fft.irfft(spectrum, len(noise))
    return pink


def _mix(clip: np.ndarray, other: np.ndarray, snr: float) -> np.ndarray:
    """Add a sound of the same length, scaled to be `snr` dB below; nothing is added to or of silence."""
    ours, theirs = (float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) for sound in (clip, other))
    if ours == 0 or theirs == 0:
        return clip
    mixed: np.ndarray = clip + other.astype(np.float32) * np.float32(ours / theirs / _ratio(snr))
    return mixed


def _resample(clip: np.ndarray, factor: float) -> np.ndarray:
    """Return the clip played `factor` times as fast."""
    played: np.ndarray = soxr.resample(clip, factor, 1.0, quality="MQ")
    return played
