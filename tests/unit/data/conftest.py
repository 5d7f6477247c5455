"""Small data sets of every kind, a recipe over each, and a cache of the test's own."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from PIL import Image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_finetune.data import build_datasets
from hf_finetune.recipe import load_recipe
from hf_finetune.tasks import TASKS, images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep prepared data of one test from another."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def processor():
    return ViTImageProcessorPil(size={"height": 32, "width": 32})


@pytest.fixture
def pictures():
    """Return a function that makes n pictures, the same ones for the same seed."""

    def make(n: int, *, side: int = 16, seed: int = 0) -> list[Image.Image]:
        pixels = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
        return [Image.fromarray(image) for image in pixels]

    return make


@pytest.fixture
def image_folder(tmp_path, pictures):
    """Return a folder with 10 cats and 6 dogs to train on and 2 of each to test on."""
    root = tmp_path / "pets"
    for i, (split, label, n) in enumerate(
        (("train", "cat", 10), ("train", "dog", 6), ("test", "cat", 2), ("test", "dog", 2))
    ):
        (root / split / label).mkdir(parents=True)
        for j, picture in enumerate(pictures(n, seed=i)):
            picture.save(root / split / label / f"{j:02}.png")
    return root


@pytest.fixture
def labelled(pictures):
    """Return a function that makes a data set of pictures with these labels."""

    def make(labels: list, feature=None, *, seed: int = 0, **columns) -> datasets.Dataset:
        data = {"image": pictures(len(labels), seed=seed), "label": labels, **columns}
        made = datasets.Dataset.from_dict(data)
        made = made.cast_column("image", datasets.Image())
        return made.cast_column("label", feature) if feature is not None else made

    return make


@pytest.fixture
def recipe_for(tmp_path):
    """Return a function that writes a recipe with this `data` section and loads it."""

    def make(path: Path | str, *, training: dict | None = None, **data):
        tree = {
            "task": "image-classification",
            "model": {"checkpoint": "none/needed"},
            "data": {"path": str(path), **data},
            "training": {"output_dir": "runs/x", **(training or {})},
        }
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
        return load_recipe(file)

    return make


@pytest.fixture
def build(recipe_for, processor):
    """Return a function that builds the data sets of a recipe with this `data` section."""

    def make(path, *, seed: int = 42, **kwargs):
        recipe = recipe_for(path, **kwargs)
        return build_datasets(recipe, TASKS.get(recipe.task.name)(recipe.task), processor, seed=seed)

    return make


@pytest.fixture
def decoded(monkeypatch):
    """Count the images that are decoded."""
    seen = []
    real = images.decode_image

    def count(value, folders=()):
        seen.append(value)
        return real(value, folders)

    monkeypatch.setattr(images, "decode_image", count)
    return seen
