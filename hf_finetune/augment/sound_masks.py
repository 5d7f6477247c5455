"""Augmentations of sounds that take a part of them away: stretches of time, bands of frequencies.

They cut the wave, so they work for every model. Masks on what a model has made of the wave are SpecAugment,
which wav2vec2 and its kin have in themselves: `model: {config: {mask_time_prob: 0.05}}`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_finetune.augment.base import AUGMENTATIONS, SoundAugmentation, check_number

__all__ = ["FrequencyMask", "TimeMask"]


@dataclass(frozen=True, kw_only=True)
class Mask(SoundAugmentation):
    """What masks have in common.

    Source: Park et al. 2019, "SpecAugment" (arXiv 1904.08779), on the wave.
    """

    num: int = 2
    share: float = 0.1
    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("num", self.num, 1, 20, is_whole=True)
        check_number("share", self.share, 0, 1)


@AUGMENTATIONS.register("time_mask")
@dataclass(frozen=True, kw_only=True)
class TimeMask(Mask):
    """Silence random stretches of a clip.

    Args:
        num: How many, 1 to 20.
        share: The longest stretch, as a share of the clip, 0 to 1.
        p: Probability, 0 to 1.
    """

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return a clip of the same length with gaps."""
        masked = clip.copy()
        for _ in range(self.num):
            size = round(rng.uniform(0, self.share) * len(clip))
            start = int(rng.integers(0, len(clip) - size, endpoint=True))
            masked[start : start + size] = 0
        return masked


@AUGMENTATIONS.register("frequency_mask")
@dataclass(frozen=True, kw_only=True)
class FrequencyMask(Mask):
    """Take random bands of frequencies out of a clip, as wide as on the mel scale of hearing.

    Args:
        num: How many, 1 to 20.
        share: The widest band, as a share of the mel scale from 0 Hz to half the sampling rate, 0 to 1.
        p: Probability, 0 to 1.
    """

    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return a clip of the same length without the bands."""
        spectrum = np.fft.rfft(clip)
        mels = 2595 * np.log10(1 + np.fft.rfftfreq(len(clip), 1 / rate) / 700)
        for _ in range(self.num):
            width = rng.uniform(0, self.share) * mels[-1]
            low = rng.uniform(0, mels[-1] - width)
            spectrum[(mels >= low) & (mels < low + width)] = 0
        return np.fft.irfft(spectrum, len(clip)).astype(np.float32)
