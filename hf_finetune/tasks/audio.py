"""Sound files of every kind -> mono clips at the model's sampling rate, decoded and checked once.

soundfile decodes (wav, flac, mp3, ogg, opus ...) and soxr resamples; neither needs ffmpeg. What soundfile
cannot read (m4a, webm ...) goes through torchcodec where that is installed and loads.

    build_audio_preparation     what a task's `build_preparation` returns
    a value with "cut"            is a part of its sound, see audio_cuts.py
    a decoded row               {"audio": float32 [N], "sampling_rate": int}, at the rate of the model
    rank_audio                  for the task's `Role`
    load_feature_extractor      for its `load_processor`; knows the sampling rate

The cache holds the length of every clip in samples (column "length": batches grouped by length want it), and
the clip itself as 16-bit numbers with a scale of its own. That is half of float32; what was recorded with 16
bits at the model's rate comes back to the last bit, and all else is rounded 96 dB below its own peak. A clip
is kept where that takes at most `MAX_GROWTH` times the room of its file: wav, flac and most mp3 are. So the
cache never outgrows the data set by more, and what is not kept (opus, mp3 of low rate) is decoded again each
time, in 2 to 14 ms for 3 s. Both ways give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soxr

from hf_finetune.tasks.audio_cuts import Cut, OpenSound, as_cut, find_bounds, open_sound, order_cuts
from hf_finetune.tasks.files import find_file, hash_content, tell_problem
from hf_finetune.tasks.values import Fetch, Preparation, Role, Row

__all__ = [
    "BOUND_ROLES",
    "MAX_GROWTH",
    "ClipLimits",
    "build_audio_preparation",
    "decode_audio",
    "decode_cut",
    "rank_audio",
    "read_audio",
    "resample_clip",
]

MAX_GROWTH = 4
BOUND_ROLES = tuple(
    Role(name=name, what=what, rank=lambda name, feature, sample: None, is_optional=True)
    for name, what in (
        ("start", "where in its file a row begins"),
        ("duration", "how long a row is"),
        ("end", "where in its file a row ends"),
    )
)
SUFFIXES = frozenset(
    {".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".webm"}
)
SILENCE = 1e-4
"""A peak of -80 dB: three steps of 16 bits."""
STEPS = 32768
"""Steps of 16 bits from silence to full scale."""


@dataclass(frozen=True, kw_only=True)
class ClipLimits:
    """What a usable clip is.

    Args:
        min_seconds: A shorter one is bad.
        max_seconds: A longer one is bad.
        allow_silence: Whether a clip may be silent, such as those of a class "silence".
        allow_cut_off: Whether a file may end before it says it does.
    """

    min_seconds: float = 0.1
    max_seconds: float = 600.0
    allow_silence: bool = False
    allow_cut_off: bool = False


def rank_audio(name: str, feature: Any, sample: Any) -> int | None:
    """Say how likely a column holds the sounds: Audio features before arrays, file names and bytes."""
    import datasets

    if isinstance(feature, datasets.Audio):
        return 0 if name == "audio" else 1
    if isinstance(feature, dict) and ({"array", "sampling_rate"} <= feature.keys() or "bytes" in feature):
        return 1 if name in ("audio", "speech") else 2
    if isinstance(sample, str) and Path(sample).suffix.lower() in SUFFIXES:
        return 2
    return 3 if isinstance(sample, bytes) else None


def build_audio_preparation(
    folders: Sequence[str],
    *,
    sampling_rate: int,
    limits: ClipLimits | None = None,
    time_unit: str = "seconds",
) -> Preparation:
    """Return how a column of sounds is prepared: decoded, mixed to one channel, resampled, checked.

    Args:
        folders: Where relative file names may start.
        sampling_rate: Of the model, in Hz.
        limits: Which clips are bad.
        time_unit: Of the bounds of a `Cut`: "seconds", or "samples" of its file.
    """
    import datasets

    limits = limits or ClipLimits()
    return Preparation(
        function=partial(_prepare, folders=tuple(folders), rate=sampling_rate, limits=limits, unit=time_unit),
        read=partial(read_audio, folders=tuple(folders), sampling_rate=sampling_rate),
        features=datasets.Features(
            {
                "samples": datasets.Value("large_binary"),
                "scale": datasets.Value("float32"),
                "length": datasets.Value("int64"),
                "digest": datasets.Value("int64"),
                "problem": datasets.Value("string"),
            }
        ),
        key=f"audio-3-{MAX_GROWTH}-{sampling_rate}-{limits}-{time_unit}-{','.join(folders)}",
        folders=tuple(folders),
    )


def read_audio(
    table: pa.Table, fetch: Fetch, folders: Sequence[str] = (), *, sampling_rate: int
) -> list[Row]:
    """Read prepared clips back as `{"audio": float32 [N], "sampling_rate": int}`; decode what is not kept."""
    scales = table["scale"].to_numpy()
    clips: list[np.ndarray | None] = []
    for samples, scale in zip(table["samples"], scales, strict=True):
        buffer = samples.as_buffer()
        clips.append(None if buffer is None else _restore(np.frombuffer(buffer, np.int16), scale))
    missing = [i for i, clip in enumerate(clips) if clip is None]
    for i, value in zip(missing, fetch(missing) if missing else (), strict=True):
        content = _read_content(value, folders)
        clips[i] = _restore(*_round(resample_clip(*decode_audio(content, allow_cut_off=True), sampling_rate)))
    return [{"audio": clip, "sampling_rate": sampling_rate} for clip in clips]


def decode_audio(
    content: bytes | dict[str, Any], *, max_seconds: float = float("inf"), allow_cut_off: bool = False
) -> tuple[np.ndarray, int]:
    """Decode one sound.

    Args:
        content: The bytes of a file, or `{"array": [N] or [channels, N], "sampling_rate": Hz}`.
        max_seconds: A longer one is refused before it fills the memory.
        allow_cut_off: Take what is there of a file that ends before it says it does.

    Returns:
        float32 [N, channels] with full scale at 1, and its sampling rate in Hz.

    Raises:
        Exception: Whatever the decoder raises on a damaged file.
    """
    if isinstance(content, dict):
        array = np.asarray(content["array"], np.float32)
        return (array[:, None] if array.ndim == 1 else array.T), int(content["sampling_rate"])
    sound = OpenSound(content)
    _check_length(sound.num_frames / sound.rate, 0.0, max_seconds)
    if not allow_cut_off:
        _refuse_cut_off(sound)
    return sound.read(), sound.rate


def decode_cut(
    cut: Cut, folders: Sequence[str] = (), *, limits: ClipLimits | None = None, unit: str = "seconds"
) -> tuple[np.ndarray, int, bytes]:
    """Decode a part of a sound, and no more of it than that takes.

    Args:
        cut: The sound, as a value of the column, and its bounds.
        folders: Where relative file names may start.
        limits: Its longest is refused before it fills the memory.
        unit: Of the bounds.

    Returns:
        As `decode_audio`, and what identifies the content: decoders of mp3 differ in the last bit of a float.

    Raises:
        Exception: As `decode_audio`; ValueError for bounds that are none in this file.
    """
    limits = limits or ClipLimits()
    if cut.sound.get("array") is not None:
        array, rate = decode_audio(cut.sound)
        first, count = find_bounds(cut, unit, rate, len(array))
        clip = array[first : first + count]
        return clip, rate, np.ascontiguousarray(clip).tobytes()
    sound = open_sound(cut.sound, folders)
    if not limits.allow_cut_off:
        _refuse_cut_off(sound)
    first, count = find_bounds(cut, unit, sound.rate, sound.num_frames)
    _check_length(count / sound.rate, 0.0, limits.max_seconds)
    clip = sound.read(first, count)
    if len(clip) < count:
        raise ValueError(f"the file ends {count - len(clip):,} samples before the cut does")
    return clip, sound.rate, sound.digest + f"{first} {count}".encode()


def resample_clip(clip: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Mix the channels of a clip down to one, their mean, and bring it to another sampling rate.

    Args:
        clip: float32 [N, channels].
        rate: Of the clip, in Hz.
        wanted: In Hz.

    Returns:
        float32 [N * wanted / rate].

    Source: soxr at its quality HQ, as in librosa: what lies above half the wanted rate is 100 dB down.
    """
    mono = _mix(clip)
    if rate != wanted:
        mono = soxr.resample(mono, rate, wanted, quality="HQ")
    return np.ascontiguousarray(mono, np.float32)


def _read_content(value: Any, folders: Sequence[str]) -> bytes | dict[str, Any]:
    """Return the bytes of a file, or an array as it is, of a value of the column."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return Path(find_file(value, folders)).read_bytes()
    if value.get("array") is not None:
        return dict(value)
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if not value.get("path"):
        raise ValueError("there is neither a file name nor bytes")
    return Path(find_file(value["path"], folders)).read_bytes()


def _prepare(
    values: list[Any], *, folders: tuple[str, ...], rate: int, limits: ClipLimits, unit: str
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        k: [None] * len(values) for k in ("samples", "scale", "length", "digest", "problem")
    }
    for i in order_cuts(values):
        value, cut = values[i], as_cut(values[i])
        raw = b""
        try:
            if value is None:
                raise ValueError("there is no sound (null)")
            if cut is not None:
                clip, native, raw = decode_cut(cut, folders, limits=limits, unit=unit)
            else:
                content = _read_content(value, folders)
                raw = content if isinstance(content, bytes) else np.float32(content["array"]).tobytes()
                clip, native = decode_audio(
                    content, max_seconds=limits.max_seconds, allow_cut_off=limits.allow_cut_off
                )
            _check(clip, native, limits)
            rounded, scale = _round(resample_clip(clip, native, rate))
            problem = None
        except (
            Exception
        ) as error:  # decoders raise nearly anything on damaged files; each is this row's problem
            rounded, scale = np.zeros(0, np.int16), np.float32(0)
            problem = tell_problem(value, str(error) or type(error).__name__)
        # a cut is always kept: to decode it again each time may take all that is before it in the file
        is_kept = problem is None and (cut is not None or rounded.nbytes <= MAX_GROWTH * len(raw))
        columns["samples"][i] = rounded.tobytes() if is_kept else None
        columns["scale"][i] = scale
        columns["length"][i] = len(rounded)
        columns["digest"][i] = hash_content(raw)
        columns["problem"][i] = problem
    return columns


def _check(clip: np.ndarray, rate: int, limits: ClipLimits) -> None:
    """Refuse a clip [N, channels] that would teach nothing, or break the model.

    Raises:
        ValueError: It is too short, too long, not finite, or silent.
    """
    if not clip.size:
        raise ValueError("the clip is empty")
    _check_length(len(clip) / rate, limits.min_seconds, limits.max_seconds)
    mono = _mix(clip)
    if not np.isfinite(mono).all():
        raise ValueError("a sample is NaN or infinite")
    peak = max(mono.max(), -mono.min())
    if peak < SILENCE and not limits.allow_silence:
        level = "nothing but zeros" if peak == 0 else f"a peak of {20 * np.log10(peak):.0f} dB"
        mixed = " once its channels are mixed" if np.abs(clip).max() >= SILENCE else ""
        raise ValueError(f"silent{mixed} ({level}); allow_silence: true keeps such clips")


def _mix(clip: np.ndarray) -> np.ndarray:
    """Return the mean of the channels [N, channels], as a product: thirty times as fast as `mean`."""
    num_channels = clip.shape[1]
    if num_channels == 1:
        return clip[:, 0]
    with np.errstate(invalid="ignore"):  # NaN and infinity are told of in words
        mono: np.ndarray = clip @ np.full(num_channels, 1 / num_channels, np.float32)
    return mono


def _check_length(seconds: float, min_seconds: float, max_seconds: float) -> None:
    if seconds < min_seconds:
        raise ValueError(f"{seconds:.3g} s is shorter than min_seconds: {min_seconds:g}")
    if seconds > max_seconds:
        raise ValueError(f"{seconds:.6g} s is longer than max_seconds: {max_seconds:g}")


def _refuse_cut_off(sound: OpenSound) -> None:
    if sound.cut_off:
        raise ValueError(f"cut off: {sound.cut_off}; allow_cut_off: true takes what is there")


def _round(clip: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Return a clip as int16 and the size of a step; exact for what had 16 bits before."""
    steps = clip * np.float32(STEPS)
    peak = np.abs(steps).max(initial=0.0)
    if peak <= STEPS - 1 and (np.rint(steps) == steps).all():
        return steps.astype(np.int16), np.float32(1 / STEPS)
    scale = np.float32(max(peak / STEPS / (STEPS - 1), 1e-30))
    return np.rint(clip / scale).astype(np.int16), scale


def _restore(rounded: np.ndarray, scale: np.float32) -> np.ndarray:
    clip: np.ndarray = rounded * np.float32(scale)
    return clip
