"""The snippets of report and card say where a pipeline hears sounds otherwise than `predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_digits_run
from sounds.report_run import make_sound_run
from sounds.transcript_run import make_transcript_run

from hf_finetune.card.facts import list_limits, show_use
from hf_finetune.report.page import render_report
from hf_finetune.report.record import read_run
from hf_finetune.report.sound_use import list_sound_notes

WAVE = {"sampling_rate": 16000, "return_attention_mask": False}
WHISPER = {"sampling_rate": 16000, "chunk_length": 30, "feature_size": 80}
AST = {"sampling_rate": 16000, "max_length": 1024, "num_mel_bins": 128}


def snippet_of(folder: Path, extractor: dict[str, Any], task: str = "", kind: str = "") -> str:
    (folder / "best").mkdir(exist_ok=True)
    (folder / "best" / "preprocessor_config.json").write_text(json.dumps(extractor))
    if task:
        text = (folder / "recipe.yaml").read_text()
        line = next(line for line in text.splitlines() if line.startswith("task:"))
        (folder / "recipe.yaml").write_text(text.replace(line, f"task: {task}"))
    if kind:
        scores = json.loads((folder / "scores.json").read_text())
        (folder / "scores.json").write_text(json.dumps(scores | {"problem_type": kind}))
    record = read_run(folder)
    snippet = show_use(record, "me/model")
    compile(snippet, "snippet", "exec")
    # the report shows the same, of the folder
    page = render_report(record)
    assert all(line[2:].split("'")[0][:40] in page for line in snippet.splitlines() if line.startswith("# "))
    assert "16000 samples a second" in page
    return snippet.replace("\n# ", " ")


@pytest.mark.parametrize(
    ("extractor", "options", "told"),
    [
        (WAVE, "", "Longer than 20 s: a pipeline hears all of it at once"),
        (WAVE, ", window_seconds: 5", "evenly spaced windows of 5 s"),
        (AST, "", "Longer than 10.24 s: a pipeline hears the first 10.24 s alone"),
    ],
)
def test_sounds_that_are_classified(extractor, options, told, tmp_path):
    make_sound_run(tmp_path)
    snippet = snippet_of(tmp_path, extractor, f"{{name: audio-classification{options}}}")
    assert told in snippet
    assert ("batch_size=1" in snippet) == (extractor is WAVE)


def test_sounds_that_are_written_down(tmp_path):
    make_transcript_run(tmp_path)
    assert "chunk_length_s=30, stride_length_s=2.5" in snippet_of(tmp_path, WAVE)
    whisper = snippet_of(tmp_path, WHISPER, kind="seq2seq")
    assert "return_timestamps=True" in whisper
    assert "at most 20 tokens for a second" in whisper
    assert "batch_size" not in whisper
    limit = "{name: automatic-speech-recognition, max_tokens_per_second: 7}"
    moonshine = snippet_of(tmp_path, WAVE, limit, "seq2seq")
    assert "at most 7 tokens for a second" in moonshine
    assert "in a batch some models hear the padding" in moonshine


def test_pictures_have_no_such_notes(tmp_path):
    make_digits_run(tmp_path)
    record = read_run(tmp_path)
    assert list_sound_notes(record) == []
    assert "pipeline hears" not in show_use(record, "me/model")


def test_page_and_card_say_how_sure_error_rates_are(tmp_path):
    scores = make_transcript_run(tmp_path)
    notes = {"rows": 120, "empty": 120, "limited": 1, "limited_rows": [7], "audio_hours": 1.5}
    notes |= {"real_time_factor": 0.02, "interval": {"wer": [0.28, 0.34]}}
    (tmp_path / "scores.json").write_text(json.dumps(scores | {"transcripts": {"test": notes}}))
    record = read_run(tmp_path)
    page, limits = render_report(record), " ".join(list_limits(record, None))
    for text in (page, limits):
        assert "31.00 % (95 % interval 28.00 % to 34.00 %)" in text
        assert "1.5 h, 0.02 s of computing for 1 s (real-time factor)" in text
        assert "Every prediction of the test split is empty" in text
        assert "1 of 120 clips of the test split hit the limit" in text
        assert "row 7." in text
    assert page.index("Every prediction") < page.index("Headline")
