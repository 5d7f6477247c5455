"""A tiny DeiT and scikit-learn's digits as a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from transformers import DeiTConfig, DeiTForImageClassification, set_seed
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil

RECIPE = """\
task: image-classification
model: {checkpoint: ./deit}
data:
  path: ./digits
  splits: {train: train, eval: validation, test: test}
  augment: [{name: random_crop, padding: 2}]
metrics: [accuracy, confusion_matrix]
training:
  output_dir: run
  max_steps: 24
  per_device_train_batch_size: 10
  per_device_eval_batch_size: 32
  gradient_accumulation_steps: 2
  learning_rate: 3e-3
  eval_strategy: steps
  eval_steps: 4
  logging_steps: 1
  use_cpu: true
"""
NUM_ROWS = {"train": 230, "validation": 60, "test": 60}


def make_folder(folder: Path) -> Path:
    """Write model, pictures and `recipe.yaml`; return the recipe."""
    set_seed(0)
    config = DeiTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
        num_labels=10,
        initializer_range=0.1,
        hidden_dropout_prob=0.1,
    )
    DeiTForImageClassification(config).save_pretrained(folder / "deit")
    processor = DeiTImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False)
    processor.save_pretrained(folder / "deit")
    images, labels = load_digits(return_X_y=True)
    start = 0
    for split, size in NUM_ROWS.items():
        for i in range(start, start + size):
            target = folder / "digits" / split / str(labels[i])
            target.mkdir(parents=True, exist_ok=True)
            pixels = (images[i].reshape(8, 8) * 15.9).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{i}.png")
        start += size
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    return recipe
