"""From a fresh machine: train the quickstart, push it; somebody else downloads it with plain transformers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

QUICKSTART = str(Path(__file__).parents[2] / "recipes" / "quickstart.yaml")
ELSEWHERE = """
    from pathlib import Path
    from huggingface_hub import ModelCard
    from transformers import pipeline

    classify = pipeline("image-classification", model="alice/digits")
    files = sorted(str(path) for path in Path("digits").iterdir())
    for file, said in zip(files, classify(files, top_k=1)):
        seen[Path(file).name] = [said[0]["label"], said[0]["score"]]
    """


@pytest.mark.slow
def test_what_was_trained_here_says_the_same_elsewhere(hub, command, client, tmp_path):
    done = command("run", QUICKSTART, "hub.repo_id=digits", "training.output_dir=run", "baseline=null")
    assert done.returncode == 0, done.stderr
    (tmp_path / "digits").mkdir()
    for row, image in enumerate(load_digits().images[:60]):
        picture = Image.fromarray((image * 15.9).astype("uint8")).convert("RGB")
        picture.save(tmp_path / "digits" / f"{row:03}.png")
    here = command("predict", "run", "digits")
    assert here.returncode == 0, here.stderr
    said = {Path(one["file"]).name: one for one in map(json.loads, here.stdout.splitlines())}
    shutil.rmtree(tmp_path / "home")
    elsewhere = client(ELSEWHERE, account=command.alice, home="elsewhere")
    assert len(elsewhere) == 60
    for name, (label, score) in elsewhere.items():
        assert label == said[name]["prediction"]
        assert score == pytest.approx(said[name]["probability"], abs=1e-5)
    # every picture of the card is in the repository, too
    card = (tmp_path / "run" / "README.md").read_text()
    files = hub.store.repos["model", "alice/digits"].find("main").files
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", card)
    assert shown
    assert set(shown) <= set(files)
