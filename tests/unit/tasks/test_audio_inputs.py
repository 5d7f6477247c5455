"""Clips -> model inputs: as the feature extractor makes them; windows; padding and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sounds.checkpoints import KINDS
from transformers import AutoModelForAudioClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_finetune.tasks.audio_inputs import (
    AudioTransform,
    WindowTransform,
    find_window,
    forward_windows,
    pad_rows,
)

RATE = 16000


def rows_of(*sizes):
    rng = np.random.default_rng(0)
    return [{"audio": rng.standard_normal(n).astype(np.float32), "sampling_rate": RATE} for n in sizes]


def one_by_one(made):
    return [{name: values[i] for name, values in made.items()} for i in range(len(next(iter(made.values()))))]


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_those_of_the_feature_extractor(kind):
    _, extractor = KINDS[kind]()
    rows = rows_of(8000, 5000, 9999)
    batch = pad_rows(one_by_one(AudioTransform(extractor)(rows)), padding_value=extractor.padding_value)
    padded = {"padding": True} if "wav" in kind or kind in ("hubert", "data2vec-audio") else {}
    theirs = extractor([r["audio"] for r in rows], sampling_rate=RATE, return_tensors="pt", **padded)
    if not extractor.return_attention_mask and padded:
        # the extractor would take the padding for a part of the clips when it normalises
        alone = [extractor(r["audio"], sampling_rate=RATE).input_values[0] for r in rows]
        theirs = extractor.pad([{"input_values": a} for a in alone], padding=True, return_tensors="pt")
    assert batch.keys() == {name for name in theirs if name in extractor.model_input_names}
    for name in batch:
        assert batch[name].dtype == theirs[name].dtype
        torch.testing.assert_close(batch[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["wav2vec2-group", "ast", "whisper"])
def test_there_is_no_mask_where_the_extractor_makes_none(kind):
    assert "attention_mask" not in AudioTransform(KINDS[kind]()[1])(rows_of(8000))


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert"])
def test_with_a_mask_padding_changes_no_answer(kind):
    config, extractor = KINDS[kind]()
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(config).eval()
    rows = one_by_one(AudioTransform(extractor)(rows_of(8000, 16000)))
    with torch.no_grad():
        alone = model(**pad_rows(rows[:1], padding_value=extractor.padding_value)).logits
        beside = model(**pad_rows(rows, padding_value=extractor.padding_value)).logits
    torch.testing.assert_close(beside[:1], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "is_kept"), [(kind, kind in ("ast", "whisper", "wav2vec2-bert")) for kind in KINDS]
)
def test_spectrograms_are_worth_keeping_and_waves_are_not(kind, is_kept):
    assert bool(AudioTransform(KINDS[kind]()[1]).key) == is_kept


def test_the_key_knows_what_the_inputs_depend_on():
    _, extractor = KINDS["ast"]()
    first = AudioTransform(extractor).key
    extractor.mean = 0.0
    assert len({first, AudioTransform(extractor).key, WindowTransform(extractor, 1.0).key}) == 3


@pytest.mark.parametrize("kind", ["ast", "whisper"])
def test_a_model_of_one_length_looks_at_all_of_a_window(kind):
    """A window is what fills the input exactly: no frame of it is padding, and no more would fit."""
    _, extractor = KINDS[kind]()
    size = round(find_window(extractor) * RATE)
    rows = rows_of(size, size + 400)
    rows[1]["audio"][:size] = rows[0]["audio"]
    name = extractor.model_input_names[0]
    full, more = AudioTransform(extractor)(rows)[name]
    assert full.shape == more.shape
    if kind == "ast":  # Whisper's is scaled by the loudest frame, and frames reach over its end
        torch.testing.assert_close(full, more)
        assert not torch.equal(full[-1], full[-1, :1].expand_as(full[-1]))


def test_windows_cover_a_clip_evenly_with_as_few_as_possible():
    transform = WindowTransform(KINDS["wav2vec2"]()[1], 0.5)
    for size, count in ((100, 1), (8000, 1), (8001, 2), (16000, 2), (16001, 3), (23999, 3)):
        clip = np.arange(size, dtype=np.float32)
        windows = transform.cut(clip)
        assert len(windows) == count
        assert {len(window) for window in windows} == {min(size, 8000)}
        np.testing.assert_array_equal(np.unique(np.concatenate(windows)), clip)
        starts = [window[0] for window in windows]
        assert np.ptp(np.diff(starts)) <= 1 if count > 2 else True


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_windows_is_that_of_the_windows_alone(kind):
    config, extractor = KINDS[kind]()
    torch.manual_seed(0)
    model = AutoModelForAudioClassification.from_config(config).eval()
    rows = rows_of(8000, 21000, 8000, 15000)
    transform = WindowTransform(extractor, 0.5)
    made = transform(rows)
    assert made["num_windows"].tolist() == [1, 3, 1, 2]
    batch = pad_rows(one_by_one({**made, "labels": torch.arange(4)}), padding_value=extractor.padding_value)
    batch.pop("labels")
    with torch.no_grad():
        logits = forward_windows(model, batch).logits
        for row, own in zip(rows, logits, strict=True):
            cut = [{"audio": window, "sampling_rate": RATE} for window in transform.cut(row["audio"])]
            alone = model(**pad_rows(one_by_one(AudioTransform(extractor)(cut)))).logits.mean(0)
            torch.testing.assert_close(own, alone, rtol=1e-4, atol=1e-5)


def test_the_model_sees_no_more_windows_at_once_than_there_are_rows():
    seen = []

    class Model(torch.nn.Module):
        def forward(self, input_values):
            seen.append(len(input_values))
            return SequenceClassifierOutput(logits=input_values[:, :2])

    inputs = {"input_values": torch.arange(22.0).reshape(11, 2), "num_windows": torch.tensor([1, 9, 1])}
    logits = forward_windows(Model(), inputs).logits
    assert seen == [3, 3, 3, 2]
    assert logits.tolist() == [[0, 1], [10, 11], [20, 21]]


def test_the_labels_of_a_batch_stay_as_they_are():
    rows = [
        {"input_values": torch.ones(3), "labels": torch.tensor([1.0, 0.0])},
        {"input_values": torch.ones(5), "labels": torch.tensor([0.0, 1.0])},
    ]
    batch = pad_rows(rows, padding_value=-7.0)
    assert batch["labels"].tolist() == [[1, 0], [0, 1]]
    assert batch["input_values"].tolist() == [[1, 1, 1, -7, -7], [1, 1, 1, 1, 1]]
