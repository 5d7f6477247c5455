"""The Python in a card is run as it stands: for sounds, for speech, for adapters. Pictures: test_push.py."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from PIL import Image

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"
CASES = {
    "sound": ("audio-classification.yaml", ()),
    "speech": ("automatic-speech-recognition-ctc.yaml", ()),
    "writing": ("automatic-speech-recognition-seq2seq.yaml", ()),
    "adapters": ("image-classification.yaml", ("model.peft={method: lora}",)),
    "merged": ("image-classification.yaml", ("model.peft={method: lora, merge: true}",)),
}
RUN = """
    exec(snippet)
    said = model(picture) if picture else model({"raw": wave, "sampling_rate": rate})
    seen["said"] = said if isinstance(said, dict) else said[0]
    """


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_snippet_runs(hub, command, client, tmp_path, case):
    recipe, words = CASES[case]
    done = command("run", str(SMOKE / recipe), "hub.repo_id=model", "training.output_dir=run", *words)
    assert done.returncode == 0, done.stderr
    card = ModelCard.load(tmp_path / "run" / "README.md")
    snippet = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    assert "alice/model" in snippet
    assert ("PeftModel" in snippet) is (case == "adapters")
    Image.new("RGB", (16, 16), "white").save(tmp_path / "picture.png")
    rate = int(re.search(r"(\d+) samples a second", snippet)[1]) if "soundfile" in snippet else 0
    for name in ("sound.wav", "speech.wav"):
        soundfile.write(tmp_path / name, np.sin(np.arange(16000) / 20).astype("float32"), rate or 16000)
    picture = None if rate else "picture.png"
    seen = client(RUN, account=command.alice, home="fresh", snippet=snippet, picture=picture)
    assert {"label", "text"} & set(seen["said"])
