"""Parts of long files: only what a row is about is decoded, to the sample, at the file's own rate.

A manifest of cuts names one file in many rows. It stays open from row to row, and the rows of a batch are
read in the order of their starts, so that ten thousand cuts of an hour cost about an hour of decoding, not
ten thousand.

How a place is reached, so that the samples are those of the whole file decoded from its start:

    wav, flac, aiff ...   by seeking
    mp3, ogg, opus        by decoding on from the cut before: libsndfile 1.2 seeks to the wrong place in ogg
                          now and then, and a frame of mp3 is made of those before it
    others                by torchcodec, where it loads, from the file decoded whole
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from hf_finetune.tasks.cut_off import find_cut_off, find_short_header
from hf_finetune.tasks.files import find_file
from hf_finetune.tasks.mpeg import add_mpeg_header, measure_mpeg

__all__ = ["CUT", "Cut", "OpenSound", "as_cut", "find_bounds", "open_sound", "order_cuts"]

CUT = "cut"
"""Beside path and bytes of a value: the bounds of a part of it."""

DECODED_ON = ("MP3", "OGG")
ROUNDED_S = 0.01
"""Seconds in tables are rounded: so much past the end of a file is its end."""
MAX_OPEN = 4


class Cut(NamedTuple):
    """A part of a sound.

    Args:
        sound: "path", "bytes", or "array" and "sampling_rate".
        bounds: "start", "duration", "end": those that have a column, as they stand in it.
    """

    sound: dict[str, Any]
    bounds: Mapping[str, Any]


def as_cut(value: Any) -> Cut | None:
    """Return a value of the input column as a part of a sound; None where it is a whole one."""
    if not isinstance(value, dict) or value.get(CUT) is None:
        return None
    return Cut({name: item for name, item in value.items() if name != CUT}, value[CUT])


class OpenSound:
    """A file that is read from in places.

    Args:
        source: Its name, or what is in it.

    Attributes:
        rate: Samples a second.
        num_frames: Samples of each channel.
        cut_off: What is missing at its end; None where nothing is.

    Raises:
        ValueError: It is no sound file that can be read.
    """

    def __init__(self, source: str | bytes) -> None:
        self._source = source
        self.cut_off, measured = _look_into(source)
        self._whole: np.ndarray | None = None
        self._held, self._held_from = np.zeros((0, 1), np.float32), 0
        try:
            self._decoded = source
            self._file = _open_decoder(source)
            self.rate, self.num_frames = self._file.samplerate, self._file.frames
            self.kind = self._file.format
            self.cut_off = self.cut_off or find_short_header(self._file)
        except soundfile.LibsndfileError as error:
            decoder = load_torchcodec()
            if decoder is None:
                raise ValueError(f"not a sound file that can be read ({error.error_string})") from error
            decoded = decoder(source).get_all_samples()
            self._whole = decoded.data.numpy().T
            self.rate, self.num_frames, self.kind = int(decoded.sample_rate), len(self._whole), "other"
        if measured is not None and measured > self.num_frames:  # a varying rate: a decoder stops too early
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
            self._decoded = add_mpeg_header(content)
            self._file = _open_decoder(self._decoded)
            measured = self._file.frames
        self.num_frames = self.num_frames if measured is None else measured

    @cached_property
    def digest(self) -> bytes:
        """Return what identifies all that is in the file."""
        if isinstance(self._source, bytes):
            return hashlib.blake2b(self._source).digest()
        with open(self._source, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()

    def read(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """Return float32 [count, channels] from a sample on; fewer at the end of the file, all if left out.

        Raises:
            ValueError: The file ends before what its header says.
        """
        count = self.num_frames - first if count is None else count
        if self._whole is not None:
            return self._whole[first : first + count]
        try:
            is_decoded_on = self.kind in DECODED_ON
            clip = self._read_on(first, count) if is_decoded_on else self._seek_and_read(first, count)
        except soundfile.LibsndfileError as error:
            if "END_OF_STREAM" in self._file.extra_info:  # flac
                raise ValueError(f"cut off: the header says {self.num_frames:,} samples") from error
            raise
        if len(clip) < count and self.kind not in DECODED_ON:
            raise ValueError(
                f"cut off: the header says {self.num_frames:,} samples, {first + len(clip):,} are there"
            )
        return clip

    def _seek_and_read(self, first: int, count: int) -> np.ndarray:
        if first != self._file.tell():
            self._file.seek(first)
        clip: np.ndarray = self._file.read(count, dtype="float32", always_2d=True)
        return clip

    def _read_on(self, first: int, count: int) -> np.ndarray:
        """Decode on from where the last cut began, which is kept, or anew from the start."""
        if first < self._held_from:
            self._file = _open_decoder(self._decoded)  # mpg123 complains where it seeks
            self._held, self._held_from = self._held[:0], 0
        at = self._held_from + len(self._held)
        while at < first and len(skipped := self._file.read(min(first - at, 1 << 20), dtype="float32")):
            at += len(skipped)
            self._held, self._held_from = self._held[:0], at
        self._held, self._held_from = self._held[first - self._held_from :], max(first, self._held_from)
        missing = count - len(self._held)
        if missing > 0:
            more = self._file.read(missing, dtype="float32", always_2d=True)
            self._held = np.concatenate([self._held, more]) if len(self._held) else more
        return self._held[:count]


def open_sound(sound: Mapping[str, Any], folders: Sequence[str]) -> OpenSound:
    """Open the file of a "path", or in "bytes"; the last few named ones stay open.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, or there is none.
    """
    if sound.get("bytes") is not None:
        return OpenSound(bytes(sound["bytes"]))
    if not sound.get("path"):
        raise ValueError("there is neither a file name nor bytes")
    path = find_file(sound["path"], folders)
    found = Path(path).stat()
    return _open_file(path, found.st_size, found.st_mtime_ns, os.getpid())


@lru_cache(maxsize=MAX_OPEN)
def _open_file(path: str, size: int, changed: int, process: int) -> OpenSound:
    """Open a file, once while it does not change; a forked process must not move its parent's place in it."""
    return OpenSound(path)


def find_bounds(cut: Cut, unit: str, rate: int, num_frames: int) -> tuple[int, int]:
    """Return the first sample of a cut and how many there are.

    Args:
        cut: With "start", and "duration" or "end"; each may be left out.
        unit: Of these: "seconds" or "samples".
        rate: Of the file, in Hz.
        num_frames: Of the file.

    Raises:
        ValueError: The bounds are no numbers, nothing is between them, or the file ends before.
    """
    bounds = {name: _read_number(name, value, unit) for name, value in cut.bounds.items()}
    start, duration, end = bounds.get("start", 0.0), bounds.get("duration"), bounds.get("end")
    scale, slack = (rate, round(ROUNDED_S * rate)) if unit == "seconds" else (1, 0)
    length = f"{num_frames / rate:.6g} s" if unit == "seconds" else f"{num_frames:,} samples"
    if start < 0:
        raise ValueError(f"the start is negative: {start:g}")
    if duration is not None and duration <= 0:
        raise ValueError(f"the duration is {duration:g}, and must be above 0")
    if end is not None and end <= start:
        raise ValueError(f"the end ({end:g}) is not behind the start ({start:g})")
    first = round(start * scale)
    if first >= num_frames:
        raise ValueError(f"the start ({start:g}) lies at or behind the end of the file ({length})")
    stop = num_frames
    if duration is not None:
        stop = first + round(duration * scale)
    elif end is not None:
        stop = round(end * scale)
    if stop > num_frames + slack:
        told = f"duration: {duration:g}" if duration is not None else f"end: {end:g}"
        raise ValueError(f"the cut (start: {start:g}, {told}) runs past the end of the file ({length})")
    if first == 0 and num_frames - stop <= slack:
        stop = num_frames  # all of it, but for the rounding
    return first, min(stop, num_frames) - first


def _read_number(name: str, value: Any, unit: str) -> float:
    if value is None:
        raise ValueError(f"the {name} is missing (null)")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"the {name} is not a number ({number})")
    if unit == "samples" and number != int(number):
        raise ValueError(f"the {name} is {number:g}, which is no whole number of samples")
    return number


def order_cuts(values: Sequence[Any]) -> Iterator[int]:
    """Yield the places of some values so that cuts of one file follow each other, by their starts."""

    def key(i: int) -> tuple[str, float]:
        cut = as_cut(values[i])
        start = cut.bounds.get("start") if cut else None
        is_number = isinstance(start, int | float) and math.isfinite(start)
        return str(cut.sound.get("path") or "") if cut else "", float(start) if is_number and start else 0.0

    yield from sorted(range(len(values)), key=key)


def load_torchcodec() -> Any:
    """Return torchcodec's decoder; None where it is not installed, or does not fit torch or ffmpeg."""
    try:
        from torchcodec.decoders import AudioDecoder
    except (ImportError, RuntimeError, OSError):
        return None
    return AudioDecoder


def _open_decoder(source: str | bytes) -> soundfile.SoundFile:
    return soundfile.SoundFile(source if isinstance(source, str) else io.BytesIO(source))


def _look_into(source: str | bytes) -> tuple[str | None, int | None]:
    """Return what is missing at the end, and how long the sound is where a decoder can only guess."""
    if isinstance(source, bytes):
        return find_cut_off(source), measure_mpeg(source)
    if not Path(source).stat().st_size:
        return None, None
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return find_cut_off(content), measure_mpeg(content)
