"""A clip as a picture, its wave above its spectrogram, and as a small file that browsers play.

Shapes: N samples, T frames, F frequencies, M mels.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
import soxr
from PIL import Image

__all__ = ["draw_clip", "encode_clip"]

WIDTH, WAVE, MELS = 448, 72, 96
"""Pixels: of both pictures across, of the wave and of the spectrogram down."""
BACKGROUND, STROKE = (13, 8, 60), (150, 196, 250)
RAMP = np.array(
    [[13, 8, 60], [84, 15, 109], [160, 42, 99], [224, 83, 60], [250, 155, 40], [248, 240, 150]], np.float64
)
"""From silent to loud: dark to light, so that it reads in black and white, too."""
FLOOR_DB = 70.0
"""What is this far below the loudest moment is drawn as silence."""
PLAYED_RATE, MAX_PLAYED_S = 16000, 15.0


def draw_clip(clip: np.ndarray, rate: int) -> Image.Image:
    """Draw a clip: the wave from -peak to peak, below it the log-mel spectrogram, low notes below.

    Args:
        clip: float32 [N].
        rate: In Hz.
    """
    return Image.fromarray(np.concatenate([_draw_wave(clip), _draw_mels(clip, rate)]))


def encode_clip(clip: np.ndarray, rate: int) -> bytes:
    """Return the first seconds of a clip as mono flac of 16 kHz or less, with its peak at full scale at most.

    Source: every current browser plays flac (caniuse.com/flac); it takes about half of wav.
    """
    played = clip[: round(MAX_PLAYED_S * rate)]
    if rate > PLAYED_RATE:
        played, rate = soxr.resample(played, rate, PLAYED_RATE), PLAYED_RATE
    peak = float(np.abs(played).max(initial=1.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, played / peak, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _draw_wave(clip: np.ndarray) -> np.ndarray:
    """Return uint8 [WAVE, WIDTH, 3]: in each column a stroke from the lowest to the highest sample."""
    edges = np.linspace(0, len(clip), WIDTH + 1).astype(int)
    peak = max(float(np.abs(clip).max(initial=0.0)), 1e-9)
    picture = np.full((WAVE, WIDTH, 3), BACKGROUND, np.uint8)
    for x in range(WIDTH):
        part = clip[edges[x] : max(edges[x + 1], edges[x] + 1)]
        if len(part):
            top, bottom = ((1 - end / peak) / 2 * (WAVE - 1) for end in (part.max(), part.min()))
            picture[int(top) : int(np.ceil(bottom)) + 1, x] = STROKE
    return picture


def _draw_mels(clip: np.ndarray, rate: int) -> np.ndarray:
    """Return uint8 [MELS, WIDTH, 3], a column a moment."""
    size = 2 ** int(np.ceil(np.log2(0.025 * rate)))
    padded = np.pad(clip, (size // 2, size // 2 + 1))
    starts = np.linspace(0, len(clip), WIDTH).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[starts]  # [T, size]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2  # [T, F]
    # the mean power between the edges of each band; bands may be narrower than a frequency of the transform
    edges = 700 * (10 ** (np.linspace(0, np.log10(1 + rate / 1400), MELS + 1)) - 1) / rate * size  # [M + 1]
    below = np.cumsum(power, axis=1)
    low = np.minimum(edges.astype(int), size // 2 - 1)
    reached = below[:, low] + (edges - low) * power[:, low + 1]
    level = 10 * np.log10(np.diff(reached, axis=1) / np.diff(edges) + 1e-10)  # [T, M]
    strength = np.clip((level - level.max() + FLOOR_DB) / FLOOR_DB, 0, 1).T[::-1]  # [M, T]
    at = strength * (len(RAMP) - 1)
    low = np.minimum(at.astype(int), len(RAMP) - 2)
    share = (at - low)[..., None]
    return np.asarray((1 - share) * RAMP[low] + share * RAMP[low + 1], np.uint8)
