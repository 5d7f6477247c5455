"""Images per second: our data path against that of transformers' image classification example.

    python -m pytest -m bench -s tests/bench/bench_images.py

The example decodes PNG rows, augments and calls the PIL image processor image by image, in
`Dataset.with_transform`. Both go through a DataLoader with batches of 32 and no workers, on one thread, with
DeiT's processor (bicubic to 256, the centre 224, normalised), in turns; the ratio is the rounds' median.
Times are wall clock: run it on an idle machine.
"""

from __future__ import annotations

import time
from statistics import median

import datasets
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil

from hf_finetune.data import build_datasets
from hf_finetune.data.rows import Rows
from hf_finetune.recipe import Recipe
from hf_finetune.tasks import TASKS
from hf_finetune.tasks.classification import collate_rows

BATCH, ROUNDS = 32, 7
PROCESSOR = DeiTImageProcessorPil(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
AUGMENT = [{"name": "random_crop", "padding": 4}, "horizontal_flip"]


def make_parquet(folder, *, side: int, num: int):
    """Write pictures, smooth with some noise, as PNG (small) or JPEG (large)."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(num):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
        noisy = np.clip(smooth + rng.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "picture", "PNG" if side < 100 else "JPEG")
        pictures.append({"bytes": (folder / "picture").read_bytes(), "path": None})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    rows = {"image": pictures, "label": [i % 10 for i in range(num)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "pictures.parquet")
    return folder / "pictures.parquet"


def crop_and_flip(image: Image.Image) -> Image.Image:
    padded = ImageOps.expand(image, 4)
    left, top = torch.randint(0, 9, (2,)).tolist()
    shifted = padded.crop((left, top, left + image.width, top + image.height))
    return ImageOps.mirror(shifted) if torch.rand(()) < 0.5 else shifted


def example_loader(path, *, is_train: bool) -> DataLoader:
    """Load as examples/pytorch/image-classification/run_image_classification.py of transformers does."""

    def transform(batch):
        images = (image.convert("RGB") for image in batch["image"])
        images = (crop_and_flip(image) for image in images) if is_train else images
        pixels = [PROCESSOR(image, return_tensors="pt")["pixel_values"][0] for image in images]
        return {"pixel_values": pixels, "labels": batch["label"]}

    def collate(rows):
        pixels = torch.stack([row["pixel_values"] for row in rows])
        return {"pixel_values": pixels, "labels": torch.tensor([row["labels"] for row in rows])}

    data = datasets.load_dataset("parquet", data_files=str(path), split="train").with_transform(transform)
    return DataLoader(data, batch_size=BATCH, collate_fn=collate)


def measure(loader: DataLoader) -> float:
    """Return images per second over one pass."""
    start = time.perf_counter()
    num = sum(len(batch["labels"]) for batch in loader)
    return num / (time.perf_counter() - start)


def measure_parts(rows: Rows) -> dict[str, float]:
    """Return milliseconds per image of the steps that make a batch."""
    batches = [np.arange(i, i + BATCH) for i in range(0, len(rows) - BATCH + 1, BATCH)]
    spent = np.zeros(4)
    for batch in batches:
        times = [time.perf_counter()]
        numbers = rows.raw.rows[batch]
        decoded = rows.raw.decode(numbers)
        times.append(time.perf_counter())
        if rows.augment is not None:
            decoded = [rows.augment(decoded[i], rows._generator(numbers[i])) for i in range(BATCH)]
        times.append(time.perf_counter())
        inputs = {**rows.transform(decoded), "labels": rows.raw.targets.take(numbers)}
        times.append(time.perf_counter())
        inputs = collate_rows([{name: made[i] for name, made in inputs.items()} for i in range(BATCH)])
        times.append(time.perf_counter())
        spent += np.diff(times)
    names = ("read", "augment", "transform", "collate")
    return dict(zip(names, 1000 * spent / (len(batches) * BATCH), strict=True))


@pytest.mark.bench
@pytest.mark.parametrize(("side", "num"), [(32, 512), (500, 96)])
def test_images_per_second(side, num, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    torch.set_num_threads(1)
    path = make_parquet(tmp_path, side=side, num=num)
    recipe = Recipe(
        task="image-classification",
        model={"checkpoint": "none/needed"},
        data={"path": str(path), "splits": {"train": "train", "eval": "train"}, "augment": AUGMENT},
    )
    task = TASKS.get(recipe.task.name)(recipe.task)
    splits = build_datasets(recipe, task, PROCESSOR, seed=42)
    assert splits.train.transform.is_fast
    ours = {
        name: DataLoader(getattr(splits, name), batch_size=BATCH, collate_fn=collate_rows)
        for name in ("train", "eval")
    }
    theirs = {name: example_loader(path, is_train=name == "train") for name in ours}
    assert all(
        torch.equal(mine["pixel_values"], other["pixel_values"])
        for mine, other in zip(ours["eval"], theirs["eval"], strict=True)
    )
    for name in ours:
        pairs = [(measure(ours[name]), measure(theirs[name])) for _ in range(ROUNDS)]
        mine, other = (median(speeds) for speeds in zip(*pairs, strict=True))
        ratio = median(a / b for a, b in pairs)
        print(f"\n{side} to 224, {name}: {ratio:.2f} times ({mine:,.0f} images/s against {other:,.0f})")
        parts = measure_parts(getattr(splits, name))
        print("  ms per image: " + ", ".join(f"{part} {spent:.3f}" for part, spent in parts.items()))
