"""What is evaluated and predicted of a row does not depend on the rows beside it, nor runs on without end."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from sounds.checkpoints import KINDS, write_checkpoint
from speech_models import CTC, SEQ2SEQ

from hf_finetune.errors import RecipeError
from hf_finetune.losses import build_loss
from hf_finetune.recipe import load_recipe
from hf_finetune.tasks import build_task
from hf_finetune.tasks.audio_inputs import WindowTransform, forward_windows, pad_rows
from hf_finetune.tasks.equal_lengths import find_groups, forward_alike
from hf_finetune.tasks.speech_recognition.transcripts import TextTargets
from hf_finetune.tasks.speech_recognition.writing import TokenLimits, write

RATE = 16000
SECONDS = (0.9, 0.4, 0.65, 0.4)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {"audio": (0.2 * rng.standard_normal(round(s * RATE))).astype(np.float32), "sampling_rate": RATE}
        for s in SECONDS
    ]


def build_speech(folder: Path, checkpoint: Path, **options):
    (folder / "r.yaml").write_text(
        f"task: {{name: automatic-speech-recognition}}\nmodel: {{checkpoint: {checkpoint}}}\n"
        "data: {path: x}\ntraining: {output_dir: run}\n"
    )
    words = [f"task.{key}={value}" for key, value in options.items()]
    recipe = load_recipe(folder / "r.yaml", words)
    task = build_task(recipe)
    return task, task.load_processor(recipe), recipe


def batch_of(transform, collate, some):
    made = transform(some)
    return collate([{name: made[name][i] for name in made} for i in range(len(some))])


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_is_classified_as_if_alone(kind, tmp_path, rows):
    write_checkpoint(tmp_path / kind, kind)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / kind)
    transformers.set_seed(0)
    model = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / kind, num_labels=3).eval()
    transform = WindowTransform(extractor, 0.5)  # two rows of two windows, of 0.5 s, and two of one, of 0.4 s
    with torch.no_grad():
        whole = forward_windows(model, batch_of(transform, pad_rows, rows)).logits
        alone = [forward_windows(model, batch_of(transform, pad_rows, [row])).logits[0] for row in rows]
    torch.testing.assert_close(whole, torch.stack(alone), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("family", CTC)
def test_a_transcript_is_spelt_as_if_alone(family, tmp_path, rows):
    task, extractor, _ = build_speech(tmp_path, CTC[family](tmp_path / family), vocabulary="characters")
    task.tokenizer = SimpleNamespace(pad_token_id=0, get_vocab=lambda: {"<pad>": 0, "a": 1, "b": 2})
    space = task._build_space(is_new=False)
    model = transformers.AutoModelForCTC.from_pretrained(tmp_path / family).eval()
    transform, collate = task.build_eval_transform(extractor), task.build_collate(space)
    forward, reduce, loss = task.build_forward(), task.build_reduce(space), build_loss(None, space)
    labels = torch.tensor([[1, 2, 1], [2, 1, -100], [1, -100, -100], [2, 2, -100]])

    def evaluate(some, labels):
        inputs = batch_of(transform, collate, some)
        outputs = forward(model, inputs)
        total = loss(outputs, labels, inputs=inputs, num_items_in_batch=1)
        return total, [row[row != -100].tolist() for row in reduce(model, inputs, outputs)["prediction"]]

    with torch.no_grad():
        total, said = evaluate(rows, labels)
        alone = [evaluate([row], labels[[i]]) for i, row in enumerate(rows)]
    assert said == [texts[0] for _, texts in alone]
    torch.testing.assert_close(total, sum(one for one, _ in alone), atol=1e-4, rtol=1e-5)
    # predicted as evaluated
    predicted = task.build_predict_forward()(model, batch_of(transform, collate, rows))
    assert torch.equal(predicted.logits, forward(model, batch_of(transform, collate, rows)).logits)


@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize("family", SEQ2SEQ)
def test_a_transcript_is_written_as_if_alone_and_no_longer_than_its_clip(family, num_beams, tmp_path, rows):
    words = {"generation.max_length": 60, "generation.num_beams": num_beams, "max_tokens_per_second": 10}
    task, extractor, recipe = build_speech(tmp_path, SEQ2SEQ[family](tmp_path / family), **words)
    model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / family).eval()
    task.adapt_model(model, recipe, from_scratch=False)
    space = task.read_space({}, extractor)
    transform, collate = task.build_eval_transform(extractor), task.build_collate(space)
    reduce, decode = task.build_reduce(space), task.build_decode(space)
    ends = {model.generation_config.pad_token_id, model.generation_config.eos_token_id}
    start = model.config.decoder_start_token_id

    def run(some):
        reduced = reduce(model, batch_of(transform, collate, some), None)
        tokens = [row[row[0] == start :].tolist() for row in reduced["prediction"]]
        tokens = [[*takewhile(lambda token: token not in ends, row)] for row in tokens]
        said = decode({name: value.numpy() for name, value in reduced.items()})
        return tokens, reduced["hit_limit"].tolist(), list(said["prediction"])

    tokens, hits, texts = run(rows)
    alone = [run([row]) for row in rows]
    assert tokens == [one[0][0] for one in alone]
    assert texts == [one[2][0] for one in alone]
    assert hits == [one[1][0] for one in alone]
    allowed = [round(10 * seconds) + 8 for seconds in (0.9, 0.4, 0.7, 0.4)]  # 6.5 tokens are 7
    for row, most, hit in zip(tokens, allowed, hits, strict=True):
        assert len(row) <= most
        assert hit == (len(row) == most)
    assert family != "moonshine" or any(hits), "random weights do not stop by themselves"
    columns, _ = task.tabulate(
        {"labels": ["x"] * 4, **decode({"prediction": np.array([[0]] * 4), "hit_limit": hits})}, space
    )
    assert columns["hit_limit"] == hits


def test_a_model_that_hears_no_padding_is_called_once():
    model = torch.nn.Sequential(torch.nn.GroupNorm(1, 4))
    wave, mask = torch.zeros(3, 8), torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [1] * 8])
    lengths = torch.tensor([8, 5, 8])
    groups = find_groups(model, {"input_values": wave, "attention_mask": mask})
    assert [(rows.tolist(), length) for rows, length in groups] == [([1], 5), ([0, 2], 8)]
    assert find_groups(torch.nn.Linear(1, 1), {"input_values": wave, "attention_mask": mask}) is None
    assert find_groups(torch.nn.Linear(1, 1), {"input_values": wave, "num_samples": lengths}) is not None
    assert find_groups(model, {"input_values": wave, "num_samples": torch.full((3,), 8)}) is None
    assert find_groups(model, {"input_features": torch.zeros(3, 2, 8), "num_samples": lengths}) is None
    seen = []
    forward_alike(
        lambda **inputs: seen.append(sorted(inputs)), {"input_features": wave, "num_samples": lengths}
    )
    assert seen == [["input_features"]], "the model is not told"


def test_each_row_is_stopped_at_its_own_limit():
    criterion = TokenLimits(torch.tensor([2, 4]))
    prompt = torch.zeros(2, 3, dtype=torch.long)
    told = []
    for _ in range(4):
        prompt = torch.cat([prompt, torch.ones(2, 1, dtype=torch.long)], 1)
        told.append(criterion(prompt, None).tolist())
    assert criterion.start == 3
    assert told == [[False, False], [True, False], [True, False], [True, True]]
    # beams lie beside each other; the first token of another window begins anew
    assert criterion(torch.zeros(4, 5, dtype=torch.long), None).tolist() == [False] * 4
    assert criterion(torch.zeros(4, 6, dtype=torch.long), None).tolist() == [True, True, False, False]


def test_a_row_that_ended_by_itself_hit_no_limit():
    class Model(torch.nn.Module):
        generation_config = SimpleNamespace(
            eos_token_id=9, pad_token_id=0, max_new_tokens=None, max_length=20, decoder_start_token_id=7
        )

        def generate(self, stopping_criteria, **inputs):
            tokens = torch.tensor(
                [[7, 5, 9, 0, 0, 0], [7, 5, 5, 5, 9, 0], [7, 5, 5, 5, 5, 0], [7, 5, 5, 5, 5, 5]]
            )
            for end in range(2, 7):
                stopping_criteria(tokens[:, :end], None)
            return tokens

    inputs = {"input_features": torch.zeros(4, 2, 3), "num_samples": torch.tensor([1, 1, 1, 1])}
    made = write(Model(), inputs, rate=10**9, per_second=1)
    assert made["hit_limit"].tolist() == [False, False, False, False]
    model = Model()
    model.generation_config.max_length = 5  # four new ones
    assert write(model, inputs, rate=1, per_second=None)["hit_limit"].tolist() == [False, False, True, True]


def test_transcripts_beyond_the_limit_are_told_of_before_training(tmp_path, caplog):
    task, *_ = build_speech(tmp_path, SEQ2SEQ["moonshine"](tmp_path / "m"), max_tokens_per_second=10)
    lengths = np.full(40, 2 * RATE)

    def judge(num_long: int) -> None:
        texts = [[list(range(50 if i < num_long else 28)) for i in range(40)]]
        assert task.judge(lengths, TextTargets.encode(texts, lambda tokens: tokens), None) == []

    judge(0)
    assert not caplog.records
    judge(2)
    assert "2 of 40 transcripts are longer" in caplog.text
    assert "max_tokens_per_second: 21 lets all of them" in caplog.text
    with pytest.raises(RecipeError, match=r"3 of 40 .* row 0: 50 in 2\.00 s\. Write task: .*: 21\}, or null"):
        judge(3)
