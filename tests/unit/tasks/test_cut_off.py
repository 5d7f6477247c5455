"""Files that end before their sound does are named, whatever their kind; whole ones never are."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from hf_finetune.tasks.audio import ClipLimits, build_audio_preparation, decode_audio
from hf_finetune.tasks.cut_off import find_cut_off
from hf_finetune.tasks.mpeg import measure_mpeg

RATE = 16000
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "nist": ("NIST", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", None),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}


def clip(seconds: float, rate: int = RATE, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    one = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.stack([one + 0.05 * rng.standard_normal(len(one))] * channels, 1).astype(np.float32)


def encode(kind: str, seconds: float = 1.3, rate: int = RATE, channels: int = 1) -> bytes:
    buffer, (form, subtype) = io.BytesIO(), KINDS[kind]
    soundfile.write(buffer, clip(seconds, rate, channels), rate, format=form, subtype=subtype)
    return buffer.getvalue()


def without_header(mp3: bytes) -> bytes:
    """Return the frames behind the one that says how many there are."""
    return mp3[mp3.index(mp3[:2], 100) :]


def problem_of(content: bytes, **limits: bool) -> str | None:
    preparation = build_audio_preparation((), sampling_rate=RATE, limits=ClipLimits(**limits))
    return preparation.function([content])["problem"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_no_shorter_clip(kind):
    whole = encode(kind)
    assert problem_of(whole) is None
    ends = np.random.default_rng(1).integers(len(whole) // 8, len(whole), 24)
    for end in (*ends, len(whole) * 7 // 8):
        told = problem_of(whole[:end])
        assert told is not None, (end, len(whole))
        assert "cut off" in told or kind in ("caf", "vorbis", "opus"), told  # some do not open at all


@pytest.mark.parametrize("kind", ["mp3", "vorbis", "opus", "flac"])
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize(("seconds", "channels"), [(0.2, 1), (2.1, 2)])
def test_whole_files_are_whole(kind, rate, seconds, channels):
    if (kind, rate) not in [("opus", 22050), ("opus", 44100)]:  # rates that it does not have
        content = encode(kind, seconds, rate, channels)
        assert find_cut_off(content) is None
        assert len(decode_audio(content)[0]) == round(seconds * rate)


def test_what_stands_around_the_sound_is_no_sound():
    mp3, ogg = encode("mp3"), encode("vorbis")
    before = b"ID3\x04\0\0" + bytes([0, 0, 2, 5]) + b"\0" * 261
    behind = {"ID3v1": b"TAG" + b"x" * 125, "APE": b"APETAGEX" + b"y" * 90, "zeros": b"\0" * 700}
    for name, tag in behind.items():
        assert find_cut_off(before + mp3 + tag) is None, name
        assert find_cut_off(without_header(mp3) + tag) is None, name
    assert find_cut_off(ogg + behind["ID3v1"]) is None
    assert find_cut_off(ogg + encode("opus")) is None, "a chain of two"
    assert find_cut_off(mp3 + mp3) is None, "joined"
    # damage in the middle is no missing end
    assert find_cut_off(mp3[:2000] + b"\0" * 9 + mp3[2009:]) is None


def test_an_mp3_without_a_header_is_measured_by_its_frames():
    bare = without_header(encode("mp3", 2.0))
    told = measure_mpeg(bare)
    assert told is not None
    assert told % 576 == 0
    assert 0 <= told - len(decode_audio(bare)[0]) <= 529
    assert "its last frame is of" in str(find_cut_off(bare[:-7]))
    assert "its last frame is not whole" in str(find_cut_off(bare + b"\xff\xf3"))
    assert measure_mpeg(encode("mp3")) is None


def test_an_mp3_of_varying_rate_without_a_header_is_heard_to_its_end():
    """libsndfile guesses from the first frames: of this one it would give a fifth."""
    samples = np.zeros(20 * RATE, np.float32)
    samples[:RATE] = np.random.default_rng(0).uniform(-0.9, 0.9, RATE)
    samples[19 * RATE :] = clip(1.0)[:, 0]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.1)
    bare = without_header(buffer.getvalue())
    assert soundfile.SoundFile(io.BytesIO(bare)).frames < 10 * RATE
    heard = decode_audio(bare)[0][:, 0]
    assert len(heard) == pytest.approx(20 * RATE, abs=2000)
    assert np.abs(heard[-RATE // 2 :]).max() > 0.2


def test_cut_off_files_may_be_allowed():
    half = encode("mp3")[:-2000]
    assert "allow_cut_off: true takes what is there" in str(problem_of(half))
    assert problem_of(half, allow_cut_off=True) is None
    preparation = build_audio_preparation((), sampling_rate=RATE, limits=ClipLimits(allow_cut_off=True))
    assert preparation.key != build_audio_preparation((), sampling_rate=RATE).key


def test_headers_of_other_encoders():
    """Fraunhofer's "VBRI" says bytes and frames, too; so do the boxes of mp4 and the segment of webm."""
    mp3 = bytearray(encode("mp3", rate=44100))
    frame = mp3[: mp3.index(mp3[:2], 100)]
    start = len(frame)
    num_frames = round(len(decode_audio(bytes(mp3[start:]))[0]) / 1152)
    head = frame[:4] + bytes(32) + b"VBRI" + bytes(6) + struct.pack(">II", len(mp3), num_frames)
    whole = bytes(head + bytes(start - len(head))) + bytes(mp3[start:])
    assert find_cut_off(whole) is None
    assert f"the header says {len(mp3):,} bytes" in str(find_cut_off(whole[:-1]))
    mp4 = struct.pack(">I4sI", 12, b"ftyp", 0) + struct.pack(">I4s", 108, b"mdat") + bytes(100)
    assert find_cut_off(mp4) is None
    assert find_cut_off(mp4[:-4]) == "a box of 108 bytes, 104 are there"
    webm = b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\x88" + bytes(8)
    assert find_cut_off(webm) is None
    assert find_cut_off(webm[:-1]) == "the header says 8 bytes, 7 are there"
    assert find_cut_off(b"\x1a\x45\xdf\xa3\x81\0\x18\x53\x80\x67\xff" + bytes(8)) is None, "a stream"
