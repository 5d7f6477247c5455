"""Beside error rates: intervals, hours of sound, real-time factor, empty predictions, limits hit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hf_finetune.metrics import build_metrics
from hf_finetune.metrics.transcript_notes import TranscriptNotes, find_interval
from hf_finetune.recipe import NamedSpec
from hf_finetune.transcript_words import describe_transcripts, tell_notes

SPACE = SimpleNamespace(problem_type="seq2seq", names=(), num_labels=9)
SPECS = [NamedSpec(name="wer", options={"normalizer": "basic"}), NamedSpec(name="cer")]


def take(said: list[str], labels: list[str], hits: list[bool]) -> TranscriptNotes:
    notes = TranscriptNotes(build_metrics(SPECS, SPACE))
    for start in range(0, len(said), 2):  # batch by batch
        part = slice(start, start + 2)
        rows = {"prediction": np.array(said[part], object), "labels": np.array(labels[part], object)}
        notes({**rows, "hit_limit": np.array(hits[part])})
    return notes


def test_what_is_noted() -> None:
    labels = ["One two.", "three four", "five"]
    notes = take(["one two", "three for more", ""], labels, [False, True, False])
    found = notes.to_json(audio_s=7.2, runtime_s=1.8)
    assert found["rows"] == 3
    assert (found["empty"], found["limited"], found["limited_rows"]) == (1, 1, [1])
    assert found["audio_hours"] == pytest.approx(0.002)
    assert found["real_time_factor"] == pytest.approx(0.25)
    # the normaliser of the metric: "One two." is right; errors of words 0, 2, 1 of 2, 2, 1
    assert found["interval"]["wer"] == list(find_interval([(0, 2), (2, 2), (1, 1)]) or ())
    assert TranscriptNotes(build_metrics(SPECS, SPACE)).to_json(audio_s=1, runtime_s=1) == {}


def test_an_interval_covers_the_true_rate_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true, hits = 0.3, 0
    for _ in range(400):
        units = rng.integers(2, 12, 80)
        rates = rng.beta(1.5, 3.5, 80)  # words of a row are wrong together; 0.3 on average
        low, high = find_interval(list(zip(rng.binomial(units, rates), units, strict=True))) or (0, 0)
        hits += low <= true <= high
    assert 0.91 <= hits / 400 <= 0.98


def test_intervals_at_the_edges() -> None:
    assert find_interval([(0, 5)]) is None
    assert find_interval([(1, 0), (2, 0)]) is None
    assert find_interval([(0, 5)] * 100) == (0.0, 0.03), "no error among a hundred rows is not none at all"
    low, high = find_interval([(9, 3), (0, 3), (0, 3)]) or (0, 0)
    assert low == 0.0
    assert high > 1, "more can be inserted than there was to say"


def test_what_is_told_first() -> None:
    notes = {"rows": 30, "empty": 30, "limited": 25, "limited_rows": list(range(20))}
    empty, limited = tell_notes("test", notes)
    assert empty.startswith("Every prediction of the test split is empty")
    assert "25 of 30 clips of the test split hit the limit" in limited
    assert limited.endswith("rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ....")
    assert tell_notes("test", {"rows": 30, "empty": 29, "limited": 0}) == []
    assert tell_notes("test", {}) == []


def test_rates_are_told_in_percent_with_their_interval() -> None:
    notes = {"rows": 9, "empty": 2, "interval": {"wer": [0.281, 0.3456]}}
    notes |= {"audio_hours": 1.25, "real_time_factor": 0.0314}
    assert describe_transcripts("test", notes, {"wer": 0.3127}) == [
        ("test wer", "31.27 % (95 % interval 28.10 % to 34.56 %)"),
        ("test sound", "1.25 h, 0.0314 s of computing for 1 s (real-time factor)"),
        ("test rows", "2 of 9 predictions are empty"),
    ]
    assert describe_transcripts("test", {}, {}) == []
    assert describe_transcripts("eval", {"audio_hours": 0.01}, {}) == [("eval sound", "36 s")]
