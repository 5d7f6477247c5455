"""Files of sound that end before their sound does: decoders read them as shorter clips, without a word.

Each kind of file says in its own way how much there should be: a size in its header, a number of frames, a
mark on the last page. What says nothing (an mp3 of constant rate without a header, cut between two frames)
cannot be told from a whole file. A length that was not known when it was written says nothing, either.
"""

from __future__ import annotations

import re
import struct

import soundfile

from hf_finetune.tasks.mpeg import Content, find_mpeg_cut, is_mpeg

__all__ = ["find_cut_off", "find_short_header"]

UNKNOWN_SIZE = 0x7FFF0000
"""A header that was written before the end was known says 2 or 4 GB."""


def find_cut_off(content: Content) -> str | None:
    """Say how much is missing of a file; None where nothing is, or nobody can tell.

    Args:
        content: Of the file.
    """
    if content[:4] == b"OggS":
        return _check_ogg(content)
    if content[4:8] == b"ftyp":
        return _check_mp4(content)
    if is_mpeg(content):
        return find_mpeg_cut(content)
    if content[:7] == b"NIST_1A":
        return _check_nist(content)
    return _check_matroska(content) if content[:4] == b"\x1a\x45\xdf\xa3" else None


def find_short_header(file: soundfile.SoundFile) -> str | None:
    """Say how much is missing of a file whose size libsndfile compares: wav, aiff, au, w64, rf64, voc."""
    found = re.search(
        r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE
    )
    told, there = map(int, found.groups()) if found else (0, 0)
    if there < told < UNKNOWN_SIZE:
        return f"the header says {told:,} bytes of sound, {there:,} are there"
    found = re.search(r"^ *(?:riff|Riff size) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    told, there = map(int, found.groups()) if found else (0, 0)
    if there + 8 < told < 2**62 and told & 0xFFFFFFFF < 0xFFFFFF00:
        return f"the header says {told:,} bytes, {there:,} are there"
    return "the header says more than is there" if "Seems to be a truncated file" in file.extra_info else None


def _check_ogg(content: Content) -> str | None:
    """Source: RFC 3533; the last page of each stream is marked as such."""
    at, ended = 0, {}
    while at < len(content):
        head = content[at : at + 27]
        if not b"OggS".startswith(head[:4]):
            break  # what is behind the last page, such as a tag, is no sound
        table = content[at + 27 : at + 27 + head[26]] if len(head) == 27 else b""
        size = 27 + len(table) + sum(table)
        if len(head) < 27 or len(table) < head[26] or at + size > len(content):
            return "its last page is not whole"
        ended[head[14:18]] = bool(head[5] & 4)
        at += size
    return None if all(ended.values()) else "no page is marked as the last"


def _check_nist(content: Content) -> str | None:
    """Source: NIST's SPHERE; its header is text, padded to a size that its second line says."""
    found = re.match(rb"NIST_1A\s+(\d+)\s", content[:64])
    size = int(found[1]) if found else 0
    header = content[:size]

    def number(name: str) -> int:
        line = re.search(rf"^{name} -i (\d+)".encode(), header, re.MULTILINE)
        return int(line[1]) if line else 0

    told = number("sample_count") * max(number("channel_count"), 1) * number("sample_n_bytes")
    is_packed = re.search(rb"^sample_coding -s\d+ \S*(?:embedded|compressed)", header, re.MULTILINE)
    there = len(content) - size
    return (
        f"the header says {told:,} bytes of sound, {there:,} are there"
        if told > there and not is_packed
        else None
    )


def _check_mp4(content: Content) -> str | None:
    """Source: ISO 14496-12; a file is boxes one after the other, each with its size before it."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        if size == 1 and at + 16 <= len(content):
            (size,) = struct.unpack(">Q", content[at + 8 : at + 16])
        if size == 0 or size < 8 or not kind.isalnum():
            return None  # to the end of the file; or no box
        if at + size > len(content):
            return f"a box of {size:,} bytes, {len(content) - at:,} are there"
        at += size
    return None


def _check_matroska(content: Content) -> str | None:
    """Source: RFC 8794 and RFC 9559, webm among them; a segment of unknown size says nothing."""
    at = 4
    for number in range(2):  # the header, then the segment
        at += 4 * number
        first = content[at] if at < len(content) else 0
        width = 9 - first.bit_length()
        size = int.from_bytes(content[at : at + width], "big") & ((1 << 7 * width) - 1)
        if not first or (number and size == (1 << 7 * width) - 1):
            return None
        at += width + (0 if number else size)
    told, there = size, len(content) - at
    return f"the header says {told:,} bytes, {there:,} are there" if there < told else None
