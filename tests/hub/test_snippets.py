"""The Python in a card is run as it stands: for sounds, for speech, for adapters. Pictures: test_push.py."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForSpeechSeq2Seq

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"
LORA = "model.peft={method: lora, r: 2}"
MERGED = "model.peft={method: lora, r: 2, merge: true}"
ON_BASE = ("model.checkpoint=org/base", "model.from_scratch=false", "training.learning_rate=1e-2")
CASES = {
    # recipe, a base to publish, words, class that loads adapters
    "sound": ("audio-classification", "", (), ""),
    "speech": ("automatic-speech-recognition-ctc", "", (), ""),
    "writing": ("automatic-speech-recognition-seq2seq", "", (), ""),
    "adapters": ("image-classification", "", (LORA,), "AutoPeftModel"),
    "merged": ("image-classification", "", (MERGED,), ""),
    "sound-adapters": ("audio-classification", "tiny-wav2vec2", (*ON_BASE, LORA), "AutoPeftModel"),
    # a head for the letters of this data, which the base does not have
    "speech-adapters": ("automatic-speech-recognition-ctc", "tiny-wav2vec2", (*ON_BASE, LORA), "PeftModel"),
    # the output layer of Whisper is its embedding: one weight under two names
    "writing-adapters": (
        "automatic-speech-recognition-seq2seq",
        "tiny-whisper",
        (*ON_BASE, LORA),
        "AutoPeftModel",
    ),
    "writing-merged": ("automatic-speech-recognition-seq2seq", "tiny-whisper", (*ON_BASE, MERGED), ""),
}
RUN = """
    exec(snippet)
    said = model(picture) if picture else model({"raw": wave, "sampling_rate": rate})
    seen["said"] = said if isinstance(said, dict) else said[0]
    """


def publish_base(hub, name: str, folder: Path) -> None:
    """Publish a tiny checkpoint with random weights: the recipe's folder has only its configuration."""
    shutil.copytree(SMOKE / name, folder)
    auto = AutoModelForSpeechSeq2Seq if "whisper" in name else AutoModel
    torch.manual_seed(0)
    auto.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    hub.add_folder("model", "org/base", folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_snippet_runs_and_says_what_predict_says(hub, command, client, tmp_path, case):
    recipe, base, words, loads_adapters = CASES[case]
    if base:
        publish_base(hub, base, tmp_path / "base")
    done = command(
        "run", str(SMOKE / f"{recipe}.yaml"), "hub.repo_id=model", "training.output_dir=run", *words
    )
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(tmp_path / "run" / "README.md")
    snippet = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    assert "alice/model" in snippet
    assert (f"from peft import {loads_adapters}\n" in snippet) is bool(loads_adapters)
    assert ("peft" in snippet) is bool(loads_adapters)
    Image.new("RGBA", (16, 16), (0, 60, 200, 40)).save(tmp_path / "picture.png")
    rate = int(re.search(r"(\d+) samples a second", snippet)[1]) if "soundfile" in snippet else 0
    # shorter than the window of the recipe: of longer sounds predict takes the mean over windows
    for name, length in (("sound.wav", 4000), ("speech.wav", 16000)):
        soundfile.write(tmp_path / name, np.sin(np.arange(length) / 20).astype("float32"), rate or 16000)
    picture = None if rate else "picture.png"
    seen = client(RUN, account=command.alice, home="fresh", snippet=snippet, picture=picture)
    here = command("predict", "run", picture or re.search(r'read\("([^"]+)"', snippet)[1])
    assert here.returncode == 0, here.stderr
    said = json.loads(here.stdout)
    if "text" in said:
        assert seen["said"]["text"].strip() == said["text"].strip()
    else:
        assert seen["said"]["label"] == said["prediction"]
        assert seen["said"]["score"] == pytest.approx(said["probability"], abs=1e-5)
