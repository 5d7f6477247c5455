"""WER and CER against jiwer on random text, and what normalisers make of it."""

from __future__ import annotations

import math
import tracemalloc

import jiwer
import numpy as np
import pytest
from metric_tools import Space, Spec, feed, score

from hf_finetune.errors import UserError
from hf_finetune.metrics import build_metrics
from hf_finetune.metrics_modules.transcripts import align, build_normalizer, count_edits

TEXT = Space("ctc", 12)
WORDS = ["a", "an", "ant", "tan", "bee", "been", "see", "seen", "café", "naïve"]


def draw(seed: int, rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Draw references and hypotheses that are often alike; some are empty."""
    rng = np.random.default_rng(seed)
    references, hypotheses = [], []
    for _ in range(rows):
        words = list(rng.choice(WORDS, rng.integers(0, 8)))
        said = [word for word in words if rng.random() > 0.2]
        said = [str(rng.choice(WORDS)) if rng.random() < 0.2 else word for word in said]
        said += list(rng.choice(WORDS, rng.integers(0, 2)))
        references.append(" ".join(words))
        hypotheses.append(" ".join(said))
    return np.array(references, dtype=object), np.array(hypotheses, dtype=object)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_jiwers(seed: int) -> None:
    references, hypotheses = draw(seed)
    reduced = {"prediction": hypotheses}
    wer = jiwer.wer(list(references), list(hypotheses))
    assert score("wer", TEXT, reduced, references) == pytest.approx(wer, abs=1e-12)
    cer = jiwer.cer(list(references), list(hypotheses))
    assert score("cer", TEXT, reduced, references) == pytest.approx(cer, abs=1e-12)


def test_the_size_of_the_batches_does_not_matter() -> None:
    references, hypotheses = draw(9)
    specs = [Spec("wer"), Spec("cer", {"normalizer": "basic"})]
    scores = [
        feed(build_metrics(specs, TEXT), {"prediction": hypotheses}, references, batch=batch).compute()
        for batch in (1, 7, 50)
    ]
    assert scores[0] == scores[1] == scores[2]


def test_an_empty_reference_adds_errors_and_no_words() -> None:
    def wer(references: list[str], hypotheses: list[str]) -> float:
        given = {"prediction": np.array(hypotheses, dtype=object)}
        return float(score("wer", TEXT, given, np.array(references, dtype=object)))

    assert wer(["", "one two"], ["oh dear me", "one two"]) == 1.5
    assert wer(["", "one two"], ["", "one two"]) == 0.0
    assert math.isnan(wer(["", ""], ["", "oh"]))


def test_less_is_better_and_the_words_of_one_recipe_are_told_apart() -> None:
    metrics = build_metrics([Spec("wer"), Spec("wer", {"normalizer": "basic"}), Spec("cer")], TEXT)
    assert metrics.names == ("wer", "wer_basic", "cer")
    assert metrics.greater_is_better("eval_wer") is False
    assert metrics.greater_is_better("cer") is False


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("none", "  Mr.  Smith's\tCAT ", "Mr. Smith's CAT"),
        ("basic", "Mr.  Smith's\tCAT — «sat»!", "mr smith's cat sat"),
        ("basic", "It\u2019s 'quoted', rock-n-roll", "it's quoted rock n roll"),
        ("basic", "Übergröße, ÉTÉ; 東京。", "übergröße été 東京"),
        ("whisper", "Été, [noise] déjà-vu!", "été déjà vu"),
        ("whisper_english", "Um, Mr. Smith won't pay twenty-five dollars", "mister smith will not pay $25"),
    ],
)
def test_normalizers(name: str, text: str, wanted: str) -> None:
    assert build_normalizer(name)(text) == wanted


def test_a_normalizer_goes_over_both_texts() -> None:
    references = np.array(["Hello, World.", "YES"], dtype=object)
    given = {"prediction": np.array(["hello world", "yes"], dtype=object)}
    assert score("wer", TEXT, given, references) == 1.0
    assert score("wer", TEXT, given, references, normalizer="basic") == 0.0


@pytest.mark.parametrize(
    ("spec", "space", "message"),
    [
        (Spec("wer"), Space(), "'wer': it is for ctc or seq2seq, .* Use for example accuracy"),
        (Spec("accuracy"), TEXT, "'accuracy': .* but the labels are ctc. Use for example wer or cer"),
        (
            Spec("cer", {"normalizer": "bsic"}),
            TEXT,
            "normalizer must be none or basic or whisper or whisper_english",
        ),
        (Spec("cer", {"normaliser": "basic"}), TEXT, "no option 'normaliser'. Did you mean 'normalizer'"),
    ],
)
def test_mistakes(spec: Spec, space: Space, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_metrics([spec], space)


def test_an_alignment_is_as_long_as_both_texts() -> None:
    for reference, hypothesis in zip(*draw(3), strict=True):
        steps = align(reference, hypothesis)
        assert " ".join(step.reference for step in steps if step.reference) == reference
        assert " ".join(step.hypothesis for step in steps if step.hypothesis) == hypothesis
        edits = count_edits([reference], [hypothesis], "words")
        assert edits.num_units == len(reference.split())
        assert (edits.num_errors == 0) == all(step.kind == "equal" for step in steps)


def test_memory_does_not_grow_with_the_rows() -> None:
    metrics = build_metrics([Spec("wer"), Spec("cer")], TEXT)
    references, hypotheses = draw(1, rows=200)

    def measure_peak(num_rounds: int) -> int:
        tracemalloc.start()
        try:
            for _ in range(num_rounds):
                feed(metrics, {"prediction": hypotheses}, references, batch=20)
            metrics.compute()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measure_peak(1)
    assert measure_peak(80) < measure_peak(40) + 50_000  # jiwer leaves cycles until they are collected
