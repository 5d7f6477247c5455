"""A tiny wav2vec2 from random weights learns to write down tones: text really comes out of sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from speech_models import SMOKE

from hf_finetune.recipe import load_recipe
from hf_finetune.runner import run

pytestmark = pytest.mark.slow


def test_sentences_of_tones_are_written_down(tmp_path: Path) -> None:
    words = [
        f"training.output_dir={tmp_path}",
        "data.splits={train: train, eval: test, test: test}",
        "model.config={mask_time_prob: 0.0}",
        "training.max_steps=900",
        "training.learning_rate=3e-3",
        "training.warmup_steps=60",
        "training.gradient_accumulation_steps=1",
        "training.per_device_train_batch_size=8",
        "training.logging_steps=300",
        "training.eval_strategy=epoch",
    ]
    scores = run(load_recipe(SMOKE / "automatic-speech-recognition-ctc.yaml", words)).scores
    assert scores["test"]["cer"] < 0.1
    assert scores["test"]["wer"] < 0.3
