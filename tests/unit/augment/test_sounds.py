"""Augmentations of sounds do what their names say, by as much as they say."""

from __future__ import annotations

import numpy as np
import pytest

from hf_finetune.augment import AUGMENTATIONS, build_augment
from hf_finetune.errors import UserError
from hf_finetune.recipe import NamedSpec

RATE = 16000


def tone(hertz=1000.0, seconds=1.0, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def apply(name, clip, seed=0, others=None, **options):
    augment = AUGMENTATIONS.build(name, {"p": 1.0, **options})
    row = {"audio": clip, "sampling_rate": RATE, "others": others}
    return augment(row, np.random.default_rng(seed))["audio"]


def power(clip):
    return float(np.mean(np.square(clip, dtype=np.float64)))


def pitch_of(clip):
    middle = clip[len(clip) // 4 : -len(clip) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    return float(np.fft.rfftfreq(8 * len(middle), 1 / RATE)[spectrum.argmax()])


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr", [-5, 10, 30])
def test_noise_has_the_ratio_asked_for(snr, colour):
    clip = tone()
    noise = apply("add_noise", clip, snr=[snr, snr], colour=colour) - clip
    assert 10 * np.log10(power(clip) / power(noise)) == pytest.approx(snr, abs=0.01)


def test_pink_noise_falls_by_three_decibels_an_octave():
    clip = tone(seconds=8.0)
    noise = apply("add_noise", clip, snr=[0, 0], colour="pink") - clip
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    bands = [spectrum[8 * low : 16 * low].mean() for low in (125, 250, 500, 1000, 2000, 4000)]
    np.testing.assert_allclose(np.diff(10 * np.log10(bands)), -3.01, atol=0.6)


def test_gain_is_in_decibels():
    np.testing.assert_allclose(apply("gain", tone(), decibels=[-6, -6]), tone() * 10 ** (-6 / 20), rtol=1e-6)


def test_a_shift_moves_and_wraps_nothing_around():
    clip = np.zeros(RATE, np.float32)
    clip[8000] = 1
    places = {int(apply("time_shift", clip, seed, seconds=0.1).argmax()) for seed in range(200)}
    assert min(places) >= 8000 - 1600
    assert max(places) <= 8000 + 1600
    assert min(places) < 7000 < 9000 < max(places)
    ramp = np.arange(1, 101, dtype=np.float32)
    for seed in range(50):
        moved = apply("time_shift", ramp, seed, seconds=60)
        kept = moved[moved > 0]
        assert len(kept) >= 50
        np.testing.assert_array_equal(np.diff(kept), 1)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_changes_length_and_pitch(factor):
    clip = apply("speed", tone(), factor=[factor, factor])
    assert len(clip) == pytest.approx(RATE / factor, abs=2)
    assert pitch_of(clip) == pytest.approx(1000 * factor, abs=2)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_speed_can_keep_the_pitch(factor):
    clip = apply("speed", tone(440), factor=[factor, factor], keep_pitch=True)
    assert len(clip) == round(RATE / factor)
    assert pitch_of(clip) == pytest.approx(440, abs=2)
    middle = clip[len(clip) // 4 : -len(clip) // 4]
    assert np.abs(middle).max() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("semitones", [-4, 3])
def test_pitch_changes_the_pitch_alone(semitones):
    clip = apply("pitch", tone(440), semitones=[semitones, semitones])
    assert len(clip) == RATE
    assert pitch_of(clip) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.005)


def test_a_time_mask_silences_no_more_than_asked():
    silenced = [
        (apply("time_mask", np.ones(1000, np.float32), seed, num=3, share=0.1) == 0) for seed in range(50)
    ]
    counts = [int(mask.sum()) for mask in silenced]
    assert 0 < max(counts) <= 300
    assert np.any(silenced, axis=0).mean() > 0.9  # anywhere


def test_a_frequency_mask_takes_bands_out():
    clip = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    masked = apply("frequency_mask", clip, num=1, share=0.3)
    kept = np.abs(np.fft.rfft(masked)) > 1e-2 * np.abs(np.fft.rfft(clip))
    gone = np.flatnonzero(~kept)
    assert len(gone) > 50
    assert gone[-1] - gone[0] < 1.02 * len(gone)  # one band
    np.testing.assert_allclose(np.fft.rfft(masked)[kept], np.fft.rfft(clip)[kept], atol=1e-2)


def test_a_random_clip_is_a_part_and_a_short_one_is_left_alone():
    ramp = np.arange(RATE, dtype=np.float32)
    starts = set()
    for seed in range(100):
        part = apply("random_clip", ramp, seed, seconds=0.25)
        assert len(part) == 4000
        np.testing.assert_array_equal(np.diff(part), 1)
        starts.add(int(part[0]))
    assert min(starts) < 1000
    assert max(starts) > 11000
    assert apply("random_clip", ramp, seconds=1.5) is not None
    np.testing.assert_array_equal(apply("random_clip", ramp, seconds=1.5), ramp)


@pytest.mark.parametrize("length", [100, 16000, 40000])
def test_another_clip_is_mixed_in_at_the_ratio_asked_for(length):
    clip, other = tone(), np.random.default_rng(1).standard_normal(length).astype(np.float32)
    mixed = apply("mix_clips", clip, others=lambda rng: {"audio": other}, snr=[12, 12])
    assert len(mixed) == len(clip)
    assert 10 * np.log10(power(clip) / power(mixed - clip)) == pytest.approx(12, abs=0.01)


def test_silence_is_left_alone_by_what_goes_by_ratios():
    silence = np.zeros(RATE, np.float32)
    assert not apply("add_noise", silence).any()
    np.testing.assert_array_equal(apply("mix_clips", tone(), others=lambda rng: {"audio": silence}), tone())


@pytest.mark.parametrize(
    "name", [n for n in AUGMENTATIONS.names() if AUGMENTATIONS.get(n).modality == "audio"]
)
def test_very_short_clips_survive(name):
    for size in (1, 2, 160):
        clip = np.full(size, 0.5, np.float32)
        for seed in range(5):
            made = apply(name, clip, seed, others=lambda rng: {"audio": tone()})
            assert made.dtype == np.float32
            assert len(made) >= 1
            assert np.isfinite(made).all()


@pytest.mark.parametrize(
    "name", [n for n in AUGMENTATIONS.names() if AUGMENTATIONS.get(n).modality == "audio"]
)
def test_at_probability_zero_nothing_happens(name):
    made = apply(name, tone(), p=0.0)
    np.testing.assert_array_equal(made, tone())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("add_noise", {"snr": [40, 10]}, "two ascending numbers"),
        ("add_noise", {"colour": "brown"}, "one of white, pink"),
        ("speed", {"factor": [0.1, 1]}, "from 0.5 to 2"),
        ("gain", {"p": 1.5}, "p must be a number from 0 to 1"),
        ("random_clip", {"seconds": 0}, "from 0.01"),
        ("time_mask", {"num": 2.5}, "whole number"),
        ("random_crop", {}, "is for image, not for audio"),
    ],
)
def test_wrong_options_are_refused(name, options, words):
    with pytest.raises(UserError, match=words):
        build_augment([NamedSpec(name=name, options=options)], modality="audio", where=lambda key: key)
