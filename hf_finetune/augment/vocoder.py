"""Another speed at the same pitch, by a phase vocoder.

Shapes: N samples, T frames of 1024 samples, F = 513 frequencies.
"""

from __future__ import annotations

import numpy as np

__all__ = ["stretch"]

SIZE, HOP = 1024, 256
WINDOW = np.hanning(SIZE + 1)[:-1]


def stretch(clip: np.ndarray, factor: float) -> np.ndarray:
    """Return a clip played `factor` times as fast, at the same pitch.

    Frames are taken at a distance of `factor` hops and laid down a hop apart; each frequency's phase goes on
    as fast as it was measured to.

    Args:
        clip: float32 [N].
        factor: 0.5 to 2.

    Returns:
        float32 [N / factor].

    Source: Flanagan and Golden 1966, "Phase vocoder"; Laroche and Dolson 1999; as in
    librosa.effects.time_stretch.
    """
    length = max(1, round(len(clip) / factor))
    padded = np.pad(clip, (SIZE // 2, SIZE + HOP + SIZE // 2))
    num_frames = 1 + (len(padded) - SIZE) // HOP
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[: num_frames * HOP : HOP]
    spectra = np.fft.rfft(frames * WINDOW)  # [T, F]
    places = np.arange(0, len(clip) / HOP + 1, factor)
    places = places[places < len(spectra) - 1]
    left = places.astype(int)
    weight = (places - left)[:, None]
    size = (1 - weight) * np.abs(spectra[left]) + weight * np.abs(spectra[left + 1])
    expected = 2 * np.pi * HOP * np.arange(SIZE // 2 + 1) / SIZE
    turn = np.angle(spectra[left + 1]) - np.angle(spectra[left]) - expected
    turn = expected + turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    phase = np.angle(spectra[0]) + np.concatenate(
        [np.zeros((1, turn.shape[1])), np.cumsum(turn, axis=0)[:-1]]
    )
    made = np.fft.irfft(size * np.exp(1j * phase)) * WINDOW
    total, weights = np.zeros((2, len(made) * HOP + SIZE))
    for i, frame in enumerate(made):
        total[i * HOP : i * HOP + SIZE] += frame
        weights[i * HOP : i * HOP + SIZE] += WINDOW**2
    sound = (total / np.maximum(weights, 1e-3))[SIZE // 2 :][:length]
    return np.pad(sound, (0, length - len(sound))).astype(np.float32)
