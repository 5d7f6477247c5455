"""The shipped wav2vec2 and its clips are what their page says, and can be made again."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from real_runs import prefork
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from hf_finetune.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
QUICKSTART = RECIPES / "quickstart_speech"
CHECKPOINT = QUICKSTART / "checkpoint"
PAGE = (QUICKSTART / "README.md").read_text(encoding="utf-8")


def read_rows(split: str) -> list[dict[str, str]]:
    text = (QUICKSTART / "clips" / split / "metadata.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_the_weights_are_those_of_the_page():
    digest = hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
    assert re.findall("[0-9a-f]{64}", PAGE) == [digest]


def test_plain_transformers_loads_all_of_it():
    model, info = AutoModelForAudioClassification.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert sum(p.numel() for p in model.parameters()) == 348_228
    assert model.config.id2label[35] == "nine"
    extractor = AutoFeatureExtractor.from_pretrained(CHECKPOINT)
    made = extractor(np.sin(np.arange(8000), dtype=np.float32), sampling_rate=16_000, return_tensors="np")
    assert set(made) == {"input_values", "attention_mask"}
    assert abs(made["input_values"].std() - 1) < 1e-3


def test_no_voice_is_in_two_splits_and_each_word_is_in_all():
    voices, words = {}, {}
    for split, num_rows in (("train", 100), ("validation", 40), ("test", 60)):
        rows = read_rows(split)
        assert len(rows) == num_rows
        assert all((QUICKSTART / "clips" / split / row["file_name"]).is_file() for row in rows)
        voices[split] = {row["voice"] for row in rows}
        words[split] = {row["text"] for row in rows}
        assert f"| {split} | {num_rows} | {len(voices[split])} |" in PAGE
    assert len(set.union(*voices.values())) == sum(len(found) for found in voices.values())
    assert words["train"] == words["validation"] == words["test"]
    assert len(words["train"]) == 10
    # what the model was pre-trained on is none of them
    pretrained = json.loads((CHECKPOINT / "config.json").read_text())["label2id"]
    assert not words["train"] & set(pretrained)


def test_the_recipe_takes_what_is_shipped():
    recipe = load_recipe(RECIPES / "quickstart_speech.yaml")
    assert not recipe.imports, "it needs no espeak-ng"
    assert Path(recipe.model.checkpoint) == CHECKPOINT
    assert Path(recipe.data.path) == QUICKSTART / "clips"
    assert recipe.expected["test_accuracy"] - recipe.expected["baseline_test_accuracy"] > 0.3


@pytest.mark.slow
def test_the_checkpoint_is_made_again_byte_for_byte(espeak, tmp_path):
    version = subprocess.run([espeak, "--version"], capture_output=True, text=True, check=True).stdout
    if "1.51" not in version:
        pytest.skip(f"espeak-ng is not 1.51: {version}")
    script = QUICKSTART / "make_checkpoint.py"
    subprocess.run([sys.executable, script, "--output", tmp_path], check=True, capture_output=True)
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (tmp_path / name).read_bytes() == (CHECKPOINT / name).read_bytes(), name


def test_where_espeak_is_missing_the_script_says_how_to_get_it(tmp_path):
    script = QUICKSTART / "make_checkpoint.py"
    words = [str(script), "--output", str(tmp_path / "checkpoint")]
    done = prefork.run(words, code=prefork.SCRIPT, cwd=tmp_path, env={**os.environ, "PATH": ""})
    assert done.returncode == 1
    assert "apt-get install espeak-ng" in done.stderr
    assert not (tmp_path / "checkpoint").exists()
