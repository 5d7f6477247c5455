"""Sounds in: decoded, mixed, resampled, checked, kept."""

from __future__ import annotations

import io

import datasets
import numpy as np
import pyarrow as pa
import pytest
import soundfile

from hf_finetune.tasks.audio import (
    ClipLimits,
    build_audio_preparation,
    decode_audio,
    rank_audio,
    resample_clip,
)

RATE = 16000


def tone(hertz: float, rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def encode(clip: np.ndarray, rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def prepare(values, limits=None, folders=()):
    preparation = build_audio_preparation(folders, sampling_rate=RATE, limits=limits)
    return preparation, pa.table(preparation.function(values), schema=preparation.features.arrow_schema)


def problem_of(value, limits=None):
    return prepare([value], limits)[1]["problem"][0].as_py()


def strongest(clip: np.ndarray, rate: int) -> tuple[float, float]:
    """Return the frequency of the highest peak of the spectrum, in Hz, and its amplitude."""
    window = np.hanning(len(clip))
    spectrum = np.abs(np.fft.rfft(clip * window)) / (window.sum() / 2)
    return float(np.fft.rfftfreq(len(clip), 1 / rate)[spectrum.argmax()]), float(spectrum.max())


@pytest.mark.parametrize("native", [8000, 11025, 22050, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("hertz", [440.0, 3000.0])
def test_a_tone_keeps_its_frequency_and_amplitude_through_resampling(native, hertz):
    clip = resample_clip(tone(hertz, native)[:, None], native, RATE)
    assert len(clip) == RATE
    found, amplitude = strongest(clip, RATE)
    assert found == pytest.approx(hertz, abs=1)
    assert amplitude == pytest.approx(0.5, rel=1e-3)
    # not only the strongest part of it: away from the ends every sample is the tone's
    np.testing.assert_allclose(clip[800:-800], tone(hertz, RATE)[800:-800], atol=2e-4)


@pytest.mark.parametrize("hertz", [8400.0, 11000.0, 15000.0, 20000.0])
def test_what_the_new_rate_cannot_hold_is_gone_and_not_folded_down(hertz):
    low, high = tone(1000, 48000, amplitude=0.3), tone(hertz, 48000, amplitude=0.3)
    clip = resample_clip((low + high)[:, None], 48000, RATE)
    alias = clip[800:-800] - tone(1000, RATE, amplitude=0.3)[800:-800]
    assert np.abs(alias).max() < 0.3 * 10 ** (-75 / 20)


def test_channels_are_mixed_to_their_mean():
    both = np.stack([tone(440, RATE), tone(440, RATE, amplitude=0.1)], axis=1)
    np.testing.assert_allclose(resample_clip(both, RATE, RATE), tone(440, RATE, amplitude=0.3), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 4e-5),
        ("WAV", "PCM_24", 4e-5),
        ("WAV", "FLOAT", 4e-5),
        ("WAV", "ULAW", 0.02),
        ("AIFF", "PCM_16", 4e-5),
        ("FLAC", "PCM_16", 4e-5),
        ("MP3", None, 0.03),
        ("OGG", "VORBIS", 0.03),
    ],
)
def test_kinds_of_files(kind, subtype, tolerance):
    wanted = tone(440, RATE)
    preparation, table = prepare([encode(wanted, RATE, kind, subtype)])
    assert table["problem"].to_pylist() == [None]
    (row,) = preparation.read(table, lambda at: [encode(wanted, RATE, kind, subtype) for _ in at])
    assert row["sampling_rate"] == RATE
    assert row["audio"].dtype == np.float32
    np.testing.assert_allclose(row["audio"][800:-800], wanted[800:-800], atol=tolerance)


def test_opus_comes_in_at_its_own_rate():
    content = encode(tone(440, 48000), 48000, "OGG", "OPUS")
    preparation, table = prepare([content])
    (row,) = preparation.read(table, lambda at: [content for _ in at])
    found, amplitude = strongest(row["audio"], RATE)
    assert (found, amplitude) == (pytest.approx(440, abs=1), pytest.approx(0.5, rel=0.02))


def test_sixteen_bits_at_the_right_rate_come_back_exactly():
    steps = np.random.default_rng(0).integers(-32768, 32768, RATE).astype(np.int16)
    steps[:2] = 32767, -32767
    preparation, table = prepare([encode(np.maximum(steps, -32767), RATE)])
    (row,) = preparation.read(table, lambda at: [])
    np.testing.assert_array_equal(row["audio"], np.maximum(steps, -32767).astype(np.float32) / 32768)


@pytest.mark.parametrize("peak", [3.0, 1.0, 1e-3])
def test_other_clips_are_rounded_far_below_their_own_peak(peak):
    clip = tone(440, RATE, amplitude=peak) * np.float32(0.987654321)
    preparation, table = prepare([encode(clip, RATE, "WAV", "FLOAT")])
    (row,) = preparation.read(table, lambda at: [])
    assert np.abs(row["audio"] - clip).max() <= peak / 32767 / 2 * 1.01


def test_a_kept_clip_and_one_that_is_decoded_again_are_the_same():
    content = encode(tone(440, 44100, amplitude=0.37), 44100, "OGG", "VORBIS")
    preparation, table = prepare([content] * 2)
    kept = preparation.read(table, lambda at: [content] * len(at))[0]["audio"]
    dropped = table.set_column(0, "samples", pa.array([None, None], pa.large_binary()))
    again = preparation.read(dropped, lambda at: [content] * len(at))[0]["audio"]
    np.testing.assert_array_equal(kept, again)


def test_the_cache_grows_at_most_fourfold():
    flac = encode(tone(440, RATE, 3.0), RATE, "FLAC")  # a tone packs well
    noise = encode(np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE).astype(np.float32), RATE, "FLAC")
    _, table = prepare([flac, noise])
    is_kept = [samples.as_py() is not None for samples in table["samples"]]
    assert is_kept == [len(flac) * 4 >= 6 * RATE, True]
    assert table["length"].to_pylist() == [3 * RATE] * 2


def test_values_of_a_column(tmp_path):
    clip = tone(440, RATE)
    content = encode(clip, RATE)
    (tmp_path / "a.wav").write_bytes(content)
    array = {"array": clip.astype(np.float64).tolist(), "sampling_rate": RATE}
    values = ["a.wav", str(tmp_path / "a.wav"), content, {"path": None, "bytes": content}]
    values += [{"path": "a.wav", "bytes": None}, array]
    preparation, table = prepare(values, folders=(str(tmp_path),))
    assert table["problem"].to_pylist() == [None] * 6
    rows = preparation.read(table, lambda at: [values[i] for i in at])
    for row in rows:
        np.testing.assert_allclose(row["audio"], clip, atol=4e-5)
    assert len(set(table["digest"].to_pylist()[:5])) == 1


def test_bad_clips_are_told_apart(tmp_path):
    wave = encode(tone(440, RATE), RATE)
    nan = tone(440, RATE)
    nan[77] = np.nan
    opposite = np.stack([tone(440, RATE), -tone(440, RATE)], axis=1)
    flac = encode(np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32), RATE, "FLAC")
    told = {
        "there is no sound (null)": None,
        "no such file: nowhere.wav": "nowhere.wav",
        "not a sound file that can be read": b"hello",
        "neither a file name nor bytes": {"path": None, "bytes": None},
        "the clip is empty": encode(np.zeros(0, np.float32), RATE),
        "0.05 s is shorter than min_seconds: 0.1": encode(tone(440, RATE, 0.05), RATE),
        "1 s is longer than max_seconds: 0.9": None,
        "a sample is NaN or infinite": encode(nan, RATE, "WAV", "FLOAT"),
        "silent (nothing but zeros)": encode(np.zeros(RATE, np.float32), RATE),
        "silent (a peak of -84 dB)": encode(np.full(RATE, 2 / 32768, np.float32), RATE),
        "silent once its channels are mixed": encode(opposite, RATE),
        "cut off: the header says 32,000 bytes of sound, 9,956 are there": wave[:10000],
        "cut off: the header says 16,000 samples": flac[: len(flac) // 2],
    }
    for words, value in told.items():
        limits = ClipLimits(max_seconds=0.9) if "longer" in words else None
        assert words in str(problem_of(wave if "longer" in words else value, limits)), words


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_sample_in_one_channel_is_seen(value):
    clip = np.stack([tone(440, RATE), tone(440, RATE)], axis=1)
    clip[77, 1] = value
    clip[99, 0] = -value
    assert "a sample is NaN or infinite" in problem_of(encode(clip, RATE, "WAV", "FLOAT"))


def test_a_long_file_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *a, **k: pytest.fail("it was read"))
    assert "1 s is longer" in problem_of(encode(tone(440, RATE), RATE), ClipLimits(max_seconds=0.5))


def test_a_header_from_before_the_end_was_known_is_no_damage():
    wave = bytearray(encode(tone(440, RATE), RATE))
    at = wave.index(b"data") + 4
    wave[4:8] = wave[at : at + 4] = b"\xff\xff\xff\xff"
    assert problem_of(bytes(wave)) is None


def test_silence_may_be_allowed():
    limits = ClipLimits(allow_silence=True)
    preparation, table = prepare([encode(np.zeros(RATE, np.float32), RATE)], limits)
    assert table["problem"].to_pylist() == [None]
    assert not preparation.read(table, lambda at: [])[0]["audio"].any()


def test_torchcodec_reads_the_rest_where_it_loads(monkeypatch):
    class Decoder:
        def __init__(self, content):
            assert content == b"another kind of file"

        def get_all_samples(self):
            import torch

            class Samples:
                data = torch.full((2, RATE), 0.25)
                sample_rate = RATE

            return Samples

    assert "not a sound file" in problem_of(b"another kind of file")
    monkeypatch.setattr("hf_finetune.tasks.audio_cuts.load_torchcodec", lambda: Decoder)
    clip, rate = decode_audio(b"another kind of file")
    assert (clip.shape, rate) == ((RATE, 2), RATE)
    assert problem_of(b"another kind of file") is None


def test_what_decides_the_cache_is_in_its_name():
    def key(rate=RATE, limits=None, folders=()):
        return build_audio_preparation(folders, sampling_rate=rate, limits=limits).key

    keys = {key(), key(8000), key(limits=ClipLimits(min_seconds=0.2)), key(folders=("a",))}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("name", "feature", "sample", "rank"),
    [
        ("audio", datasets.Audio(), None, 0),
        ("speech", datasets.Audio(), None, 1),
        ("audio", {"array": 1, "sampling_rate": 2}, None, 1),
        ("clip", {"path": 1, "bytes": 2}, None, 2),
        ("file", datasets.Value("string"), "a/b.FLAC", 2),
        ("file", datasets.Value("string"), "a/b.txt", None),
        ("x", datasets.Value("binary"), b"", 3),
        ("label", datasets.ClassLabel(names=["a"]), 0, None),
    ],
)
def test_columns_that_may_hold_sounds(name, feature, sample, rank):
    assert rank_audio(name, feature, sample) == rank
