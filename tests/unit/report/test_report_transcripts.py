"""The word error rate taken apart, and mistakes aligned word by word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from hf_finetune.report.mistakes import build_mistakes
from hf_finetune.report.page import render_report
from hf_finetune.report.record import RunRecord
from hf_finetune.report.transcripts import build_transcripts, find_normalizer

WORDS = ["one", "two", "three", "Four", "five."]


def record(rows: int = 60, **changes: Any) -> RunRecord:
    rng = np.random.default_rng(0)
    labels = [" ".join(rng.choice(WORDS, rng.integers(0, 6))) for _ in range(rows)]
    said = [" ".join(w if rng.random() > 0.3 else str(rng.choice(WORDS)) for w in t.split()) for t in labels]
    said[0], labels[0] = "one two", ""
    predictions = {
        "row": list(range(rows)),
        "label": labels,
        "prediction": said,
        "seconds": rng.uniform(0.2, 5, rows).tolist(),
        "group": [f"speaker {i % 3}" for i in range(rows)],
    }
    usual: dict[str, Any] = {
        "folder": Path("run"),
        "recipe": {"task": "automatic-speech-recognition"},
        "scores": {"problem_type": "ctc", "test": {"wer": 0.3}},
        "predictions": predictions,
    }
    return RunRecord(**{**usual, **changes})


def test_the_parts_add_up_to_the_whole() -> None:
    run = record()
    found = build_transcripts(run)
    assert found is not None
    labels, said = run.predictions["label"], run.predictions["prediction"]
    wanted = jiwer.process_words(labels, said)
    edits = found.whole.edits
    assert (edits.substitutions, edits.deletions, edits.insertions) == (
        wanted.substitutions,
        wanted.deletions,
        wanted.insertions,
    )
    assert found.whole.rate == pytest.approx(wanted.wer)
    assert found.num_right == sum(a == b for a, b in zip(labels, said, strict=True))
    for parts in (found.by_length, found.by_group):
        assert sum(part.num_rows for part in parts) == 60
        assert sum(part.edits.num_errors for part in parts) == edits.num_errors
        assert sum(part.edits.num_units for part in parts) == edits.num_units
    rates = [part.rate for part in found.by_group]
    assert rates == sorted(rates, reverse=True)
    assert len(found.by_length) == 5


def test_the_metrics_normaliser_is_the_reports() -> None:
    metrics = ["cer", {"name": "wer", "normalizer": "basic"}]
    predictions = {"label": ["Four, five."], "prediction": ["four five"]}
    run = record(predictions=predictions, recipe={"metrics": metrics})
    assert find_normalizer(run) == "basic"
    found = build_transcripts(run)
    assert found is not None
    assert found.num_right == 1
    assert find_normalizer(record(recipe={"metrics": ["wer", metrics[1]]})) == "none"
    assert find_normalizer(record(recipe={"metrics": [{"name": "wer", "normalizer": "gone"}]})) == "none"


def test_runs_without_text_have_no_such_section() -> None:
    assert build_transcripts(record(scores={"problem_type": "regression"})) is None
    assert build_transcripts(record(predictions={})) is None
    assert build_transcripts(record(predictions={"label": ["a"]})) is None


def test_a_mistake_is_aligned_and_nothing_in_it_is_markup() -> None:
    worst = ({"row": 3, "label": "the <b>cat</b> sat", "prediction": "the hat sat down"},)
    run = record(worst=worst)
    (card,) = build_mistakes(run)
    assert [step.kind for step in card.steps] == ["equal", "substitute", "equal", "insert"]
    page = render_report(run)
    assert "<del>&lt;b&gt;cat&lt;/b&gt;</del> <ins>hat</ins>" in page
    assert "<ins>down</ins>" in page
    assert "<b>cat" not in page
    assert "By group" in page
    assert "speaker 2" in page
