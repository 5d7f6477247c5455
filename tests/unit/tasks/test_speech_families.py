"""Every family of checkpoints: loads, trains two updates, saves, loads again, also as a pipeline."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
import transformers
from speech_models import CTC, SEQ2SEQ, SMOKE, save_ctc, save_mms, save_moonshine, save_whisper
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from hf_finetune.errors import UserError
from hf_finetune.predicting import predict
from hf_finetune.recipe import load_recipe
from hf_finetune.runner import check, prepare, run
from hf_finetune.tasks.speech_recognition.frames import count_frames
from hf_finetune.tasks.speech_recognition.inputs import shift_right
from hf_finetune.tasks.speech_recognition.long_waves import forward_long_waves
from hf_finetune.tasks.speech_recognition.spaces import WritingSpace

QUICK = [
    "model.from_scratch=false",
    "data.splits.train=train[:14]",
    "data.splits.eval=train[14:20]",
    "data.splits.test=test[:3]",
    "training.max_steps=2",
    "training.gradient_accumulation_steps=1",
]


def recipe_of(kind: str, checkpoint: Path, out: Path, *words: str) -> Any:
    words = (f"model.checkpoint={checkpoint}", f"training.output_dir={out}", *QUICK, *words)
    return load_recipe(SMOKE / f"automatic-speech-recognition-{kind}.yaml", words)


def load_back(best: Path, auto: str) -> torch.nn.Module:
    model, info = getattr(transformers, auto).from_pretrained(best, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["mismatched_keys"]
    return model


def transcribe(best: Path) -> str:
    clip = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    speech = transformers.pipeline("automatic-speech-recognition", model=str(best), device="cpu")
    return str(speech({"raw": clip, "sampling_rate": 16_000})["text"])


@pytest.mark.parametrize("family", CTC)
# WavLM of transformers 5.23, when it is given no mask
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
def test_ctc(family: str, tmp_path: Path) -> None:
    checkpoint = CTC[family](tmp_path / "checkpoint")
    result = run(recipe_of("ctc", checkpoint, tmp_path / "run", "task.vocabulary=characters"))
    assert math.isfinite(result.scores["test"]["loss"])
    assert result.scores["problem_type"] == "ctc"
    table = pq.read_table(result.folder.predictions("test"))
    assert table.column_names == ["row", "label", "prediction", "seconds", "group"]
    assert set(table["group"].to_pylist()) <= {"low", "high"}
    model = load_back(result.folder.best, "AutoModelForCTC")
    assert model.config.vocab_size == result.scores["num_labels"] == 11  # eight letters, blank, unknown, |
    assert model.config.pad_token_id == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.folder.best)
    assert tokenizer.decode(tokenizer("ab ba").input_ids, group_tokens=False) == "ab ba"
    transcribe(result.folder.best)


@pytest.mark.parametrize("family", SEQ2SEQ)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_seq2seq(family: str, tmp_path: Path) -> None:
    checkpoint = SEQ2SEQ[family](tmp_path / "checkpoint")
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run"))
    assert math.isfinite(result.scores["test"]["loss"])
    assert result.scores["test"]["wer"] > 0
    model = load_back(result.folder.best, "AutoModelForSpeechSeq2Seq")
    assert model.generation_config.max_length == 24
    transcribe(result.folder.best)


@pytest.mark.parametrize("family", CTC)
def test_frames_are_counted_as_the_model_does(family: str, tmp_path: Path) -> None:
    model = transformers.AutoModelForCTC.from_pretrained(CTC[family](tmp_path / "checkpoint"))
    lengths = torch.arange(400, 9000, 37)
    wanted = model._get_feat_extract_output_lengths(lengths)
    assert torch.equal(torch.as_tensor(count_frames(lengths, model.config)), wanted)
    assert count_frames(lengths.numpy(), model.config).tolist() == wanted.tolist()


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_a_decoder_reads_what_the_model_would_make_of_the_labels(family: str) -> None:
    name = {"whisper": "whisper.modeling_whisper", "moonshine": "moonshine.modeling_moonshine"}.get(
        family, "speech_to_text.modeling_speech_to_text"
    )
    module = __import__(f"transformers.models.{name}", fromlist=["shift_tokens_right"])
    labels = torch.tensor([[5, 6, 7, 2], [8, 2, -100, -100]])
    wanted = module.shift_tokens_right(labels, 9, 1)
    assert torch.equal(shift_right(labels, start=1, pad=9), wanted)


def test_a_language_of_mms(tmp_path: Path) -> None:
    checkpoint = save_mms(tmp_path / "checkpoint")
    words = ["task={name: automatic-speech-recognition, target_lang: deu}"]
    result = run(recipe_of("ctc", checkpoint, tmp_path / "run", *words))
    assert result.scores["num_labels"] == 14
    trained = load_back(result.folder.best, "AutoModelForCTC").state_dict()
    source = transformers.Wav2Vec2ForCTC.from_pretrained(
        checkpoint, target_lang="deu", ignore_mismatched_sizes=True
    )
    moved = {n for n, tensor in source.state_dict().items() if not torch.equal(tensor, trained[n])}
    assert moved
    assert all("adapter_layer" in name or name.startswith("lm_head") for name in moved)
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.folder.best)
    assert tokenizer.target_lang == "deu"
    with pytest.raises(UserError, match="no vocabulary for 'fra'"):
        check(recipe_of("ctc", checkpoint, tmp_path / "run", words[0].replace("deu", "fra")))


def test_the_checkpoints_own_vocabulary_keeps_its_output_layer(tmp_path: Path) -> None:
    checkpoint = CTC["wavlm"](tmp_path / "first")
    first = run(recipe_of("ctc", checkpoint, tmp_path / "run"))
    words = ["task.vocabulary=checkpoint", "training.learning_rate=1e-12"]
    second = run(recipe_of("ctc", first.folder.best, tmp_path / "again", *words))
    heads = [
        load_back(result.folder.best, "AutoModelForCTC").state_dict()["lm_head.weight"]
        for result in (first, second)
    ]
    torch.testing.assert_close(*heads, rtol=0, atol=1e-6)
    third = run(recipe_of("ctc", first.folder.best, tmp_path / "new", "training.learning_rate=1e-12"))
    renewed = load_back(third.folder.best, "AutoModelForCTC").state_dict()["lm_head.weight"]
    assert renewed.shape == heads[0].shape
    assert not torch.allclose(renewed, heads[0], atol=1e-3)


def test_convolutions_are_frozen_unless_the_recipe_says_not_to(tmp_path: Path) -> None:
    checkpoint = CTC["wav2vec2-layer-norm"](tmp_path / "checkpoint")
    source = transformers.AutoModelForCTC.from_pretrained(checkpoint).state_dict()
    name = "wav2vec2.feature_extractor.conv_layers.0.conv.weight"
    for words, is_kept in ((), True), (("task.freeze_feature_encoder=false",), False):
        result = run(recipe_of("ctc", checkpoint, tmp_path / f"run-{is_kept}", *words))
        trained = load_back(result.folder.best, "AutoModelForCTC").state_dict()
        assert torch.equal(trained[name], source[name]) == is_kept


def test_what_does_not_fit_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = save_whisper(tmp_path / "checkpoint")
    for word, message in {
        "task.decoding=ctc": "cannot write text by ctc. Write decoding: seq2seq",
        "task.vocabulary=words": "task.vocabulary means nothing for whisper",
        "task.language=klingon": "task.language: .* cannot begin transcripts with it",
        "task.generation={num_beans: 2}": "task.generation.num_beans: GenerationConfig has no such setting",
        "task.generation={do_sample: true}": "an evaluation must give the same text each time",
        "training.generation_config=./nowhere": "generation_config=./nowhere: there is nothing at .*nowhere",
        "training.sortish_sampler=true": "sortish_sampler = True: no data set has it any more",
    }.items():
        with pytest.raises(UserError, match=message):
            check(recipe_of("seq2seq", checkpoint, tmp_path / "run", word))


def test_generation_is_for_tasks_that_write(tmp_path: Path) -> None:
    checkpoint = CTC["wavlm"](tmp_path / "checkpoint")
    with pytest.raises(UserError, match="predict_with_generate is for tasks whose model writes text"):
        check(recipe_of("ctc", checkpoint, tmp_path / "run", "training.predict_with_generate=true"))


def test_the_settings_of_generation_are_kept(tmp_path: Path) -> None:
    checkpoint = save_whisper(tmp_path / "checkpoint")
    words = [
        "task.generation={suppress_tokens: [1, 2, 3], no_repeat_ngram_size: 3}",
        "training.generation_num_beams=2",
        "training.generation_max_length=9",
    ]
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words))
    kept = transformers.GenerationConfig.from_pretrained(result.folder.best)
    assert (kept.num_beams, kept.max_length, kept.no_repeat_ngram_size) == (2, 9, 3)
    assert kept.suppress_tokens == [1, 2, 3]
    said = pq.read_table(result.folder.predictions("test")).to_pydict()["prediction"]
    assert not {"a", "b", "c"} & set("".join(said))


def test_without_generation_the_loss_alone_is_measured(tmp_path: Path) -> None:
    checkpoint = save_whisper(tmp_path / "checkpoint")
    words = ["training.predict_with_generate=false"]
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words))
    assert math.isfinite(result.scores["test"]["loss"])
    assert "wer" not in result.scores["test"]
    with pytest.raises(UserError, match="metrics measure the text that is written"):
        check(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words, "metrics=[wer]"))


def write_clips(folder: Path, *seconds: float) -> list[Path]:
    rng = np.random.default_rng(0)
    files = [folder / f"{length}.wav" for length in seconds]
    for file, length in zip(files, seconds, strict=True):
        soundfile.write(file, 0.1 * rng.standard_normal(round(length * 16_000)), 16_000)
    return files


def answers(run_folder: Path, files: list[Path], output: Path) -> list[dict[str, Any]]:
    predict(run_folder, files, output=output)
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_predict_by_ctc_says_when_each_word_is_said(tmp_path: Path) -> None:
    checkpoint = CTC["wav2vec2-layer-norm"](tmp_path / "checkpoint")
    result = run(recipe_of("ctc", checkpoint, tmp_path / "run"))
    for answer in answers(result.folder.path, write_clips(tmp_path, 0.5, 61.5, 1.25), tmp_path / "out.jsonl"):
        assert " ".join(word["word"] for word in answer["words"]) == answer["text"]
        seconds = float(Path(answer["file"]).stem)
        times = [time for word in answer["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert all(0 <= time <= seconds for time in times)


@pytest.mark.parametrize("seconds", [0.5, 30.0, 30.013, 55.0, 71.234])
def test_windows_of_a_long_wave_have_the_frames_of_all_of_it(seconds: float, tmp_path: Path) -> None:
    """A model without attention hears no further than a window's context: its frames are the same."""
    folder = save_ctc(
        tmp_path, "Wav2Vec2", num_hidden_layers=0, feat_extract_norm="layer", mask_time_prob=0.0
    )
    model = transformers.AutoModelForCTC.from_pretrained(folder).eval()
    wave = torch.from_numpy(
        np.random.default_rng(0).standard_normal((1, round(seconds * 16_000)), np.float32)
    )
    inputs = {"input_values": wave, "attention_mask": torch.ones_like(wave, dtype=torch.long)}
    lengths = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append(kwargs["input_values"].shape[1]), with_kwargs=True
    )
    with torch.no_grad():
        found = forward_long_waves(model, inputs, sampling_rate=16_000).logits
        assert max(lengths) <= 30.1 * 16_000
        assert (len(lengths) > 1) == (seconds > 30.02)
        torch.testing.assert_close(found, model(**inputs).logits)


def test_predict_by_a_decoder(tmp_path: Path) -> None:
    checkpoint = save_whisper(tmp_path / "checkpoint", timestamps=True)
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run", "task.timestamps=true"))
    for answer in answers(result.folder.path, write_clips(tmp_path, 0.5, 1.25), tmp_path / "out.jsonl"):
        assert isinstance(answer["text"], str)
        assert all(0 <= piece["start"] <= piece["end"] <= 30 for piece in answer["pieces"]), answer


@pytest.mark.parametrize("timestamps", [False, True])
def test_predict_hears_all_of_a_long_clip(timestamps: bool, tmp_path: Path) -> None:
    """A window of this model is 2 s; what it says of one clip depends on no other."""
    checkpoint = save_whisper(tmp_path / "checkpoint", timestamps=True)
    if not timestamps:  # as in checkpoints from before there was such a file
        (checkpoint / "generation_config.json").unlink()
    number = transformers.WhisperTokenizer.from_pretrained(checkpoint).convert_tokens_to_ids
    # letters, and times in the first half of a window: random weights would end their text at once
    others = [
        number("Ġ"),
        *range(number("'"), number("<|0.00|>")),
        *range(number("<|1.00|>"), number("<|2.00|>") + 1),
    ]
    words = [f"task.timestamps={timestamps}", f"task.generation={{suppress_tokens: {others}}}"]
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words))
    files = write_clips(tmp_path, 0.5, 7.5, 1.25, 3.5)
    found = answers(result.folder.path, files, tmp_path / "out.jsonl")
    assert [Path(answer["file"]).stem for answer in found] == ["0.5", "7.5", "1.25", "3.5"]
    for file, answer in zip(files, found, strict=True):
        assert answers(result.folder.path, [file], tmp_path / f"{file.stem}.jsonl") == [answer]
        assert "<|" not in answer["text"]
    processor = transformers.AutoProcessor.from_pretrained(result.folder.best)
    model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(result.folder.best)
    model.generation_config.no_timestamps_token_id = number("<|notimestamps|>")
    clip, rate = soundfile.read(files[1], dtype="float32")
    inputs = processor(clip, sampling_rate=rate, return_tensors="pt", truncation=False, padding="longest")
    assert inputs["input_features"].shape[-1] == 750
    tokens = model.generate(**inputs, return_timestamps=True)[0]
    assert found[1]["text"] == processor.decode(tokens, skip_special_tokens=True).strip()
    alone = processor(clip[: 2 * rate], sampling_rate=rate, return_tensors="pt")
    start = processor.decode(model.generate(**alone, return_timestamps=True)[0], skip_special_tokens=True)
    assert len(found[1]["text"]) > len(start.strip()), "more is written than of the first window"


def test_pieces_between_times_are_apart_where_a_language_has_spaces(tmp_path: Path) -> None:
    tokenizer = transformers.WhisperTokenizer.from_pretrained(save_whisper(tmp_path / "it", timestamps=True))
    space = WritingSpace(tokenizer=tokenizer, num_labels=len(tokenizer), start=0, pad=0)
    for pieces, wanted in (
        (("ab cd", "ef"), "ab cd ef"),
        ((" ab", " cd"), "ab cd"),
        (("ab", "cd"), "abcd"),
        (("", "ab c"), "ab c"),
    ):
        said = "".join(f"<|0.00|>{piece}<|1.00|>" for piece in pieces)
        tokens = tokenizer(said, add_special_tokens=False).input_ids
        assert space.read_timed(np.array(tokens)) == wanted


def test_a_decoder_that_knows_no_times_hears_no_long_clip(tmp_path: Path) -> None:
    result = run(recipe_of("seq2seq", save_whisper(tmp_path / "checkpoint"), tmp_path / "run"))
    found = answers(result.folder.path, write_clips(tmp_path, 1.25, 3.5), tmp_path / "out.jsonl")
    assert [Path(answer["file"]).stem for answer in found] == ["1.25"]


@pytest.mark.parametrize(
    ("family", "message"), [("moonshine", "has none"), ("whisper", "was not trained with")]
)
def test_timestamps_are_for_those_that_learnt_them(family: str, message: str, tmp_path: Path) -> None:
    checkpoint = SEQ2SEQ[family](tmp_path / "checkpoint")
    with pytest.raises(UserError, match=rf"task\.timestamps: .*{message}"):
        check(recipe_of("seq2seq", checkpoint, tmp_path / "run", "task.timestamps=true"))


def test_the_tokens_of_language_and_task(tmp_path: Path) -> None:
    checkpoint = save_whisper(tmp_path / "checkpoint")
    tokenizer = transformers.WhisperTokenizer.from_pretrained(checkpoint)
    number = tokenizer.convert_tokens_to_ids
    kept = json.loads((checkpoint / "generation_config.json").read_text())
    kept |= {
        "_from_model_config": False,
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": number("<|en|>")},
        "task_to_id": {name: number(f"<|{name}|>") for name in ("transcribe", "translate")},
        "no_timestamps_token_id": number("<|notimestamps|>"),
    }
    (checkpoint / "generation_config.json").write_text(json.dumps(kept))
    words = ["task={name: automatic-speech-recognition, language: english, task: translate}"]
    prepared = prepare(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words))
    batch = prepared.parts.collate([prepared.parts.train_dataset[i] for i in range(3)])
    begin = number(["<|startoftranscript|>", "<|en|>", "<|translate|>", "<|notimestamps|>"])
    assert batch["decoder_input_ids"][:, :4].tolist() == [begin] * 3
    assert batch["labels"][:, :3].tolist() == [begin[1:]] * 3
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words))
    saved = transformers.GenerationConfig.from_pretrained(result.folder.best)
    assert (saved.language, saved.task) == ("english", "translate")


def written(checkpoint: Path, out: Path, engine: str, **generation: Any) -> list[str]:
    words = [f"engine={engine}", f"task.generation={json.dumps(generation)}"]
    table = pq.read_table(run(recipe_of("seq2seq", checkpoint, out, *words)).folder.predictions("test"))
    return [str(text) for text in table["prediction"].to_pylist()]


@pytest.mark.parametrize("engine", ["trainer", "accelerate"])
def test_forced_and_suppressed_tokens_are_those_of_the_recipe(engine: str, tmp_path: Path) -> None:
    checkpoint = save_moonshine(tmp_path / "moonshine")
    letters = dict(enumerate("abcdefghijklmnopqrstuvwxyz", 4))
    for number in (4, 25):
        texts = written(checkpoint, tmp_path / f"run-{number}", engine, forced_bos_token_id=number)
        assert {text[0] for text in texts} == {letters[number]}
    all_but_f = [number for number in range(40) if letters.get(number) != "f"]
    texts = written(checkpoint, tmp_path / "run", engine, suppress_tokens=all_but_f)
    assert {character for text in texts for character in text} == {"f"}


@pytest.mark.parametrize("engine", ["trainer", "accelerate"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_whisper_goes_on_from_forced_tokens(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`generate` gives back only what comes after them."""
    checkpoint = save_whisper(tmp_path / "whisper")
    read: list[list[int]] = []
    forward = WhisperDecoder.forward

    def note(decoder: Any, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        read.append(input_ids[0].tolist())
        return forward(decoder, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(WhisperDecoder, "forward", note)
    written(checkpoint, tmp_path / "run", engine, forced_decoder_ids=[[1, 5], [2, 7]])
    start = transformers.WhisperConfig.from_pretrained(checkpoint).decoder_start_token_id
    assert [start, 5, 7] in read


def test_adapters_on_a_decoder_write_too(tmp_path: Path) -> None:
    checkpoint = save_whisper(tmp_path / "checkpoint")
    words = ["model.peft={method: lora, r: 4, target_modules: [q_proj, v_proj]}"]
    result = run(recipe_of("seq2seq", checkpoint, tmp_path / "run", *words))
    assert (result.folder.best / "adapter_config.json").exists()
    assert result.scores["test"]["wer"] > 0
    assert len(answers(result.folder.path, write_clips(tmp_path, 0.5), tmp_path / "out.jsonl")) == 1
