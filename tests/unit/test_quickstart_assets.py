"""The shipped checkpoint and data are what their page says, and can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from real_runs import prefork
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_finetune.recipe import load_recipe

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart"
CHECKPOINT = QUICKSTART / "checkpoint"
PAGE = (QUICKSTART / "README.md").read_text(encoding="utf-8")
FASHION = Path("/usr/share/datasets/fashion-mnist")


def run_python(code: str, home: Path) -> prefork.Child | subprocess.Popen[str]:
    """Start Python beside the scripts, with a home of its own: they write below it when imported."""
    own = {"HOME": str(home), "HF_HOME": str(home / "hf"), "PYTHONPATH": str(QUICKSTART)}
    return prefork.start([], code=code, cwd=QUICKSTART, env={**os.environ, **own})


def finish(child: prefork.Child | subprocess.Popen[str]) -> str:
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out


def test_the_weights_are_those_of_the_page():
    digest = hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()
    assert re.findall("[0-9a-f]{64}", PAGE) == [digest]


def test_plain_transformers_loads_all_of_it():
    model, info = AutoModelForImageClassification.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert sum(p.numel() for p in model.parameters()) == 139_082
    assert model.config.id2label[9] == "Ankle boot"
    processor = AutoImageProcessor.from_pretrained(CHECKPOINT)
    pixels = processor(Image.new("RGB", (28, 40), "white"), return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, torch.ones(1, 3, 16, 16))


def test_the_processor_does_what_the_pre_training_did(tmp_path):
    code = """
import numpy as np, sys
from make_checkpoint import build_processor, to_pixels
from PIL import Image
images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
rgb = [Image.fromarray(image).convert("RGB") for image in images]
seen = build_processor()(rgb, return_tensors="pt")["pixel_values"]
print(float((seen - to_pixels(images)).abs().max()))
build_processor().save_pretrained(sys.argv[1])
"""
    child = run_python(code.replace("sys.argv[1]", repr(str(tmp_path))), tmp_path)
    assert float(finish(child)) < 1e-6
    made = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert made == json.loads((CHECKPOINT / "preprocessor_config.json").read_text())


def test_the_digits_are_written_once_whoever_comes_first(tmp_path):
    children = [run_python("import digits; print(digits.FOLDER)", tmp_path) for _ in range(3)]
    (named,) = {finish(child).strip() for child in children}
    assert named == load_recipe(QUICKSTART.parent / "quickstart.yaml").data.path
    folder = tmp_path / Path(named).relative_to("~")
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(before) == {"train.parquet", "test.parquet"}
    finish(run_python("import digits", tmp_path))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    splits = {
        name: datasets.Dataset.from_parquet(
            str(folder / f"{name}.parquet"), cache_dir=str(tmp_path / "cache")
        )
        for name in ("train", "test")
    }
    assert {name: len(split) for name, split in splits.items()} == {"train": 1437, "test": 360}
    assert splits["train"].features["label"].names == [str(digit) for digit in range(10)]
    image = splits["test"][0]["image"]
    assert (image.size, image.mode) == ((16, 16), "L")
    counts = np.bincount(splits["test"]["label"])
    assert counts.min() >= 34
    assert counts.max() <= 37
    pixels = [np.asarray(row["image"]).tobytes() for split in splits.values() for row in split]
    assert len(set(pixels)) == 1797, "no image is in both splits"


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="apt-get install dataset-fashion-mnist")
def test_the_checkpoint_is_made_again_byte_for_byte(tmp_path):
    script = QUICKSTART / "make_checkpoint.py"
    subprocess.run([sys.executable, script, "--output", tmp_path], check=True, capture_output=True)
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (tmp_path / name).read_bytes() == (CHECKPOINT / name).read_bytes(), name


def test_where_the_data_are_missing_the_script_says_how_to_get_them(tmp_path):
    script = QUICKSTART / "make_checkpoint.py"
    done = prefork.run(
        [str(script), "--data", str(tmp_path)], code=prefork.SCRIPT, cwd=tmp_path, env=dict(os.environ)
    )
    assert done.returncode == 1
    assert "apt-get install dataset-fashion-mnist" in done.stderr
    assert "Traceback" not in done.stderr
