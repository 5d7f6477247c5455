"""What the tests publish on the hub: small, random, and laid out like the real repositories."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher, DeiTImageProcessorPil

CIFAR_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CIFAR_CARD = """\
---
pretty_name: Cifar10
configs:
- config_name: plain_text
  data_files:
  - split: train
    path: plain_text/train-*
  - split: test
    path: plain_text/test-*
---
# CIFAR-shaped noise
"""


def save_small_deit(folder: Path, *, image_size: int = 32) -> Path:
    """Write a random distilled DeiT with the two heads of the real one, and its processor."""
    torch.manual_seed(0)
    config = DeiTConfig(
        image_size=image_size,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=20,
    )
    size = {"height": image_size, "width": image_size}
    DeiTForImageClassificationWithTeacher(config).save_pretrained(folder)
    DeiTImageProcessorPil(size=size, do_center_crop=False).save_pretrained(folder)
    return folder


def save_cifar_shaped(folder: Path, *, num_train: int = 120, num_test: int = 40) -> Path:
    """Write train and test parquet files with CIFAR-10's columns, class names and image size."""
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=CIFAR_NAMES)})
    rng = np.random.default_rng(0)
    (folder / "plain_text").mkdir(parents=True)
    (folder / "README.md").write_text(CIFAR_CARD, encoding="utf-8")
    for split, num_rows in (("train", num_train), ("test", num_test)):
        labels = [row % len(CIFAR_NAMES) for row in range(num_rows)]
        pixels = rng.integers(0, 256, (num_rows, 32, 32, 3), dtype=np.uint8)
        rows = {"img": [Image.fromarray(image) for image in pixels], "label": labels}
        path = folder / "plain_text" / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return folder
