"""What the tests publish on the hub: small, random, and laid out like the real repositories."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import soundfile
import torch
from PIL import Image
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    DeiTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
)

CIFAR_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
KEYWORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_silence_", "_unknown_"]
WITHOUT_SAFETENSORS = {
    "facebook/wav2vec2-base",
    "facebook/wav2vec2-xls-r-300m",
    "microsoft/wavlm-base-plus",
}
"""Checkpoints whose weights the real Hub has as a pickle alone, at the revisions that recipes name."""
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


def save_small_wav2vec2(folder: Path) -> Path:
    """Write a random wav2vec2 as it is published: what it was pre-trained with, no classes, a pickle."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        codevector_dim=16,
        proj_codevector_dim=16,
        num_codevectors_per_group=8,
        classifier_proj_size=16,
    )
    model = Wav2Vec2ForPreTraining(config)
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    return folder


def save_keywords_shaped(folder: Path) -> Path:
    """Write parquet files as the Hub converts SUPERB's keywords: a folder a split, clips as wav bytes."""
    features = datasets.Features(
        {
            "file": datasets.Value("string"),
            "audio": datasets.Audio(sampling_rate=16_000),
            "label": datasets.ClassLabel(names=KEYWORDS),
        }
    )
    rng = np.random.default_rng(0)
    for split, num_rows in (("train", 72), ("validation", 24), ("test", 24)):
        labels = [row % len(KEYWORDS) for row in range(num_rows)]
        rows = {
            "file": [f"{row}.wav" for row in range(num_rows)],
            "audio": [
                {"bytes": _to_wav(label, rng), "path": f"{row}.wav"} for row, label in enumerate(labels)
            ],
            "label": labels,
        }
        (folder / "ks" / split).mkdir(parents=True)
        # datasets encodes no sound without torchcodec: the columns are written as they lie in a parquet file
        plain = datasets.Features(
            {
                **features,
                "audio": {
                    name: datasets.Value(kind) for name, kind in (("bytes", "binary"), ("path", "string"))
                },
            }
        )
        table = datasets.Dataset.from_dict(rows, features=plain).data.table
        pq.write_table(table.cast(features.arrow_schema), folder / "ks" / split / "0000.parquet")
    return folder


def _to_wav(label: int, rng: np.random.Generator) -> bytes:
    """Return a tone of a pitch for each word, half a second to two, and zeros for silence."""
    time = np.arange(int(rng.integers(8_000, 32_000))) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * 200 * 1.2**label * time) * (KEYWORDS[label] != "_silence_")
    file = io.BytesIO()
    soundfile.write(file, wave, 16_000, format="WAV")
    return file.getvalue()
