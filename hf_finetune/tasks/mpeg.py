"""The frames of mp3 and its kin (layers I to III): whether all are there, and how long they are.

Source: ISO 11172-3 and 13818-3 for the frames; the headers of Xing / LAME ("Info") and of Fraunhofer
("VBRI"), which stand in a first frame without sound.
"""

from __future__ import annotations

import struct
from mmap import mmap
from typing import TypeAlias

__all__ = ["Content", "add_mpeg_header", "find_mpeg_cut", "is_mpeg", "measure_mpeg"]

Content: TypeAlias = "bytes | mmap"

BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(version, layer) -> thousands of bits a second, ISO 11172-3 and 13818-3."""
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")


def is_mpeg(content: Content) -> bool:
    """Tell whether a file begins as these do."""
    return content[:3] == b"ID3" or bool(_frame_size(content, 0))


def find_mpeg_cut(content: Content) -> str | None:
    """Say how much is missing at the end; None where nothing is, or nobody can tell."""
    start = _skip_tags(content)
    told_frames, told_bytes = _read_mpeg_header(content, start)
    if told_bytes is not None and start + told_bytes > len(content):
        return f"the header says {told_bytes:,} bytes of sound, {len(content) - start:,} are there"
    at, num_frames = _walk_mpeg(content, start)
    if size := _frame_size(content, at):
        return f"its last frame is of {size:,} bytes, {len(content) - at:,} are there"
    if 0 < len(content) - at < 4 and content[at] == 0xFF:
        return "its last frame is not whole"
    counted = num_frames - 1  # that with the header has no sound; some encoders count it, some do not
    # what is no frame in the middle is damage, which decoders step over: then frames cannot be counted so
    is_short = told_frames is not None and counted < told_frames - 1 and _is_mpeg_end(content, at)
    return f"the header says {told_frames:,} frames, {counted:,} are there" if is_short else None


def measure_mpeg(content: Content) -> int | None:
    """Return how long an mp3 without a header is, in samples, where decoders can only guess; else None."""
    if not is_mpeg(content):
        return None
    start = _skip_tags(content)
    at, num_frames = _walk_mpeg(content, start)
    if not num_frames or _read_mpeg_header(content, start)[0] is not None or not _is_mpeg_end(content, at):
        return None
    version, layer = content[start + 1] >> 3 & 3, 4 - (content[start + 1] >> 1 & 3)
    return num_frames * (384 if layer == 1 else 1152 if layer == 2 or version == 3 else 576)


def add_mpeg_header(content: Content) -> bytes:
    """Put a header of Xing before an mp3 of varying rate that has none: decoders would stop far too early.

    Decoders then also leave out the 529 samples that are theirs, at the start.
    """
    start = _skip_tags(content)
    end, num_frames = _walk_mpeg(content, start)
    first = content[start : start + 4]
    head = bytes(
        [first[0], first[1] | 1, 14 << 4 | first[2] & 0x0C, first[3]]
    )  # no checksum, the highest rate
    size = _frame_size(head, 0)
    frame = (
        head + bytes(_count_beside(head)) + b"Xing" + struct.pack(">III", 3, num_frames, size + end - start)
    )
    return frame.ljust(size, b"\0") + content[start:]


def _count_beside(frame: bytes) -> int:
    """Return the bytes between the four of a frame's own header and that of Xing."""
    is_mono, is_first_version = frame[3] >> 6 == 3, frame[1] >> 3 & 3 == 3
    return {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[
        is_first_version, is_mono
    ]


def _walk_mpeg(content: Content, at: int) -> tuple[int, int]:
    """Return where the whole frames end, and how many there are."""
    num_frames = 0
    while (size := _frame_size(content, at)) and at + size <= len(content):
        at, num_frames = at + size, num_frames + 1
    return at, num_frames


def _is_mpeg_end(content: Content, at: int) -> bool:
    """Say whether nothing is here, or nothing but padding or a tag."""
    is_tag = any(content[at : at + len(tag)] == tag for tag in TAGS)
    return at + 4 > len(content) or not content[at : at + 4].strip(b"\0") or is_tag


def _skip_tags(content: Content) -> int:
    """Return where the sound starts behind tags of kind ID3v2, and behind the zeros that pad them."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + 10:
        head = content[at : at + 10]
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        at += 10 + size + (10 if head[5] & 0x10 else 0)
    while at < len(content) and content[at] == 0:
        at += 1
    return at


def _frame_size(content: Content, at: int) -> int:
    """Return the bytes of the frame that starts here; 0 where none does, or of no fixed rate."""
    head = content[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer, number, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or number in (0, 15) or rate == 3:
        return 0
    hertz = RATES[version][rate]
    bits = 1000 * BITRATES[1 if version == 3 else 2, layer][number]
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def _read_mpeg_header(content: Content, at: int) -> tuple[int | None, int | None]:
    """Return the frames and the bytes that the first frame's header says; None for what it does not say."""
    size = _frame_size(content, at)
    frame = content[at : at + size]
    if len(frame) < 48:
        return None, None
    beside = _count_beside(frame)
    for place in (4 + beside, 6 + beside):  # a checksum of two bytes may come first
        if frame[place : place + 4] in (b"Xing", b"Info"):
            (flags,) = struct.unpack(">I", frame[place + 4 : place + 8])
            numbers = struct.unpack(">II", frame[place + 8 : place + 16])
            frames = numbers[0] if flags & 1 else 0
            num_bytes = (numbers[1] if flags & 1 else numbers[0]) if flags & 2 else 0
            return frames or None, num_bytes or None
    if frame[36:40] == b"VBRI":
        num_bytes, frames = struct.unpack(">II", frame[46:54])
        return frames or None, num_bytes or None
    return None, None
