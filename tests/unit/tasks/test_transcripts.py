"""Transcripts become tokens: cleaned, spelt with a vocabulary, and told where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from speech_models import SMOKE, save_ctc
from transformers import Wav2Vec2CTCTokenizer

from hf_finetune.errors import UserError
from hf_finetune.recipe import load_recipe
from hf_finetune.runner import check, evaluate, run
from hf_finetune.runner.hops import prepare
from hf_finetune.tasks.speech_recognition.base import rank_text
from hf_finetune.tasks.speech_recognition.inputs import collate_speech
from hf_finetune.tasks.speech_recognition.transcripts import TextTargets, build_cleaner, read_transcripts
from hf_finetune.tasks.speech_recognition.vocabulary import build_tokenizer, split_units

RATE = 16_000


@pytest.mark.parametrize(
    ("case", "remove", "wanted"),
    [
        (None, None, "Grüße, AN Ihn!"),
        ("keep", "[,!]", "Grüße AN Ihn"),
        ("lower", "[^a-zäöüß ]", "grüße an ihn"),
        ("upper", r"[^\w ]", "GRÜSSE AN IHN"),
    ],
)
def test_a_transcript_is_cleaned(case: str | None, remove: str | None, wanted: str) -> None:
    assert build_cleaner(case, remove)("  Grüße,\tAN  Ihn!\n") == wanted


@pytest.mark.parametrize("unit", ["characters", "words"])
def test_a_new_vocabulary_spells_its_text(unit: str, tmp_path: Path) -> None:
    texts = ["the cat sat", "a cat", ""]
    tokenizer = build_tokenizer(iter([texts[:1], texts[1:]]), unit=unit)
    tokenizer.save_pretrained(tmp_path)
    again = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert (again.pad_token_id, again.unk_token_id, again.word_delimiter_token_id) == (0, 1, 2)
    for text in texts:
        tokens = again.convert_tokens_to_ids(split_units(text, unit))
        assert again.unk_token_id not in tokens
        assert again.decode(tokens, group_tokens=False) == text
    # what a model says: every token twice, a blank between
    tokens = again.convert_tokens_to_ids(split_units("a cat", unit))
    assert again.decode([said for token in tokens for said in (token, token, 0)]) == "a cat"


def test_a_vocabulary_does_not_depend_on_the_order_of_the_rows() -> None:
    one, other = (build_tokenizer(iter([texts]), unit="characters") for texts in (["ab", "c"], ["c", "ab"]))
    assert one.get_vocab() == other.get_vocab()


def test_targets_are_taken_row_by_row() -> None:
    targets = TextTargets.encode([["ab", ""], ["c"]], lambda text: [ord(c) for c in text])
    assert len(targets) == 3
    assert [one.tolist() for one in targets.take(np.array([2, 0, 1]))] == [[99], [97, 98], []]
    assert targets.lengths.tolist() == [2, 0, 1]
    assert targets.classes is None
    assert targets.content(np.array([0])) != targets.content(np.array([1]))


def test_a_missing_transcript_is_named() -> None:
    columns = {"train": pa.chunked_array([["a", "b"]]), "eval": pa.chunked_array([["a"], [None]])}
    with pytest.raises(UserError, match=r"r\.yaml: eval row 1: the transcript is missing"):
        read_transcripts(columns, str, where="r.yaml")
    with pytest.raises(UserError, match="every transcript of the split 'train' is empty"):
        read_transcripts({"train": pa.chunked_array([["", ""]])}, str, where="r.yaml")


def test_the_usual_names_come_first() -> None:
    import datasets

    text = datasets.Value("string")
    ranks = {name: rank_text(name, text, "x") for name in ("speaker", "sentence", "text")}
    assert ranks["text"] < ranks["sentence"] < ranks["speaker"]
    assert rank_text("text", datasets.Value("int32"), 1) is None


def test_rows_are_padded_at_their_ends() -> None:
    rows = [
        {
            "input_values": torch.ones(n),
            "attention_mask": torch.ones(n, dtype=torch.int64),
            "labels": torch.arange(n),
        }
        for n in (3, 1)
    ]
    batch = collate_speech(rows)
    assert batch["input_values"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[0, 1, 2], [0, -100, -100]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with two splits: the third training row says more than its clip has frames."""
    folder, clips = tmp_path / "data", tmp_path / "clips"
    folder.mkdir()
    clips.mkdir()
    rng = np.random.default_rng(0)
    texts = ["ab", "ba", "abababababab", "aa", "b", "a b"]
    for split in ("train", "test"):
        for i in range(len(texts)):
            wave = 0.1 * rng.standard_normal(RATE // 10 if i == 2 else RATE // 2)
            soundfile.write(clips / f"{split}{i}.wav", wave, RATE)
        kept = texts if split == "train" else ["a"] * 6
        rows = {"audio": [str(clips / f"{split}{i}.wav") for i in range(6)], "text": kept}
        pq.write_table(pa.table(rows), folder / f"{split}.parquet")
    return folder


def recipe_of(data: Path, tmp_path: Path, *words: str) -> Any:
    checkpoint = tmp_path / "checkpoint"
    if not checkpoint.exists():
        save_ctc(checkpoint, "Wav2Vec2", feat_extract_norm="layer")
    words = (
        f"model.checkpoint={checkpoint}",
        f"data.path={data}",
        "data.splits={train: train, test: test, eval: test}",
        "data.columns={}",
        "training.max_steps=2",
        "training.per_device_train_batch_size=2",
        f"training.output_dir={tmp_path / 'run'}",
        *words,
    )
    return load_recipe(SMOKE / "automatic-speech-recognition-ctc.yaml", words)


def test_a_transcript_longer_than_its_clip_is_found_before_training(data: Path, tmp_path: Path) -> None:
    problem = "train row 2: the transcript needs 12 frames, and the clip of 0.10 s has 8"
    with pytest.raises(UserError, match=f"1 unusable row: {problem}"):
        check(recipe_of(data, tmp_path))
    result = run(recipe_of(data, tmp_path, "data.bad_rows=drop"))
    assert np.isfinite(result.scores["test"]["loss"])
    # other data, whose text has fewer letters, are spelt with the vocabulary that training made
    other = tmp_path / "other"
    other.mkdir()
    (data / "test.parquet").rename(other / "test.parquet")
    again = evaluate(result.folder.path, overrides=[f"data.path={other}"])
    assert {name: again[name] for name in ("loss", "wer", "cer")} == {
        name: result.scores["test"][name] for name in ("loss", "wer", "cer")
    }
    (other / "test.parquet").rename(data / "test.parquet")
    assert prepare(recipe_of(data, tmp_path, "data.bad_rows=drop")).splits.dropped == {
        "train": [(2, problem.partition(": ")[2])]
    }


def test_equal_letters_need_a_blank_between(data: Path, tmp_path: Path) -> None:
    rows = {
        "audio": [str(tmp_path / f"clips/train{i}.wav") for i in range(6)],
        "text": ["a", "b", "aaaab", "ab", "ba", "b"],
    }
    pq.write_table(pa.table(rows), data / "train.parquet")
    check(recipe_of(data, tmp_path))  # 5 letters and 3 blanks fit in 8 frames
    pq.write_table(pa.table(rows | {"text": ["a", "b", "aaaaa", "ab", "ba", "b"]}), data / "train.parquet")
    with pytest.raises(UserError, match="needs 9 frames"):
        check(recipe_of(data, tmp_path))


def test_characters_the_vocabulary_does_not_have(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {
        "audio": [str(tmp_path / f"clips/test{i}.wav") for i in range(6)],
        "text": ["aé", "b", "a", "b", "ab", "é"],
    }
    pq.write_table(pa.table(rows), data / "test.parquet")
    with caplog.at_level("WARNING"):
        check(recipe_of(data, tmp_path, "data.bad_rows=drop"))
    assert "test: 2 of 8 tokens are not in the vocabulary: 'é' (2)" in caplog.text
    pq.write_table(pa.table(rows | {"text": ["éü", "ü", "ö", "é", "é", "é"]}), data / "test.parquet")
    with pytest.raises(UserError, match=r"7 of 7 tokens .* Set task.case or task.remove"):
        check(recipe_of(data, tmp_path, "data.bad_rows=drop"))


@pytest.mark.parametrize("values", [[1984, 12], [12.5, None], [True, False]])
def test_numbers_are_no_transcripts(values: list[Any]) -> None:
    """A csv of digits alone is read as numbers: "007" is 7 by then."""
    with pytest.raises(
        UserError, match=r"recipe: the transcripts of the split 'train' are not text but .*jsonl"
    ):
        read_transcripts({"train": pa.chunked_array([values])}, str, where="recipe")
