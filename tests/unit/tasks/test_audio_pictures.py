"""Pictures show what is heard, and files play what was in the clip."""

import io

import numpy as np
import pytest
import soundfile

from hf_finetune.tasks import audio_pictures
from hf_finetune.tasks.audio_pictures import draw_clip, encode_clip


def tone(hertz, seconds=1.0, rate=16000, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def test_a_higher_tone_lies_higher_and_a_later_one_further_right():
    def where(clip):
        picture = np.asarray(draw_clip(clip, 16000), int)[audio_pictures.WAVE :].sum(axis=2)
        row, column = np.unravel_index(picture.argmax(), picture.shape)
        return int(row), int(column)

    low, high = (where(tone(hertz))[0] for hertz in (300, 3000))
    assert low > high
    late = np.concatenate([np.zeros(16000, np.float32), tone(1000, 0.2)])
    assert where(late)[1] > 0.8 * audio_pictures.WIDTH


def test_a_louder_moment_has_a_longer_stroke():
    clip = np.concatenate([tone(440, amplitude=0.1), tone(440, amplitude=0.8)])
    wave = np.asarray(draw_clip(clip, 16000))[: audio_pictures.WAVE]
    lengths = (wave == audio_pictures.STROKE).all(axis=2).sum(axis=0)
    quiet, loud = lengths[: audio_pictures.WIDTH // 2 - 2], lengths[audio_pictures.WIDTH // 2 + 2 :]
    assert quiet.max() < 0.2 * loud.min()


@pytest.mark.parametrize("size", [1, 100, 16000, 600000])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_clips_of_any_length_and_rate_silent_ones_too(size, rate):
    for clip in (np.zeros(size, np.float32), np.full(size, 0.3, np.float32)):
        picture = draw_clip(clip, rate)
        assert picture.size == (audio_pictures.WIDTH, audio_pictures.WAVE + audio_pictures.MELS)


@pytest.mark.parametrize(("rate", "played"), [(8000, 8000), (16000, 16000), (48000, 16000)])
def test_what_is_played_is_the_start_of_the_clip(rate, played):
    clip, found = soundfile.read(io.BytesIO(encode_clip(tone(440, 20.0, rate), rate)), dtype="float32")
    assert (found, clip.ndim, len(clip)) == (played, 1, 15 * played)
    np.testing.assert_allclose(clip[played:-played], tone(440, 15.0, played)[played:-played], atol=1e-3)


def test_what_is_louder_than_full_scale_is_not_clipped():
    clip, _ = soundfile.read(io.BytesIO(encode_clip(tone(440, amplitude=2.0), 16000)))
    np.testing.assert_allclose(clip, tone(440, amplitude=1.0), atol=1e-3)
