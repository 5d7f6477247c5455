"""scikit-learn's handwritten digits as a folder that `datasets` reads: made once, without a network.

A recipe imports this file, which writes the folder, and names `FOLDER` as its `data.path`. The 1,797 images
come with scikit-learn (UCI's Optical Recognition of Handwritten Digits, CC BY 4.0): 1,437 for training and
360 for testing, the same share of every digit in both.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import datasets
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path("~/.cache/hf-finetune/digits-v1")
"""A new name whenever what is written changes: what is there is taken as it is."""

NAMES = [str(digit) for digit in range(10)]
SIZE = 16  # pixels; of the original 8, what a picture of a mistake shows would be hard to make out
NUM_TEST = 360


def build(folder: Path) -> None:
    """Write train.parquet and test.parquet, unless they are there.

    They are written beside the folder's place and renamed: several processes may do this at once, and one
    that dies leaves nothing half done.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
        made = Path(staging) / folder.name
        made.mkdir()
        for split, (images, labels) in split_digits().items():
            rows = {"image": [{"bytes": _to_png(image)} for image in images], "label": labels.tolist()}
            datasets.Dataset.from_dict(rows, features=features).to_parquet(made / f"{split}.parquet")
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # it is when another process was faster
                raise


def split_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the images, uint8 [N, 16, 16], and labels [N] of "train" and "test"."""
    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8], from 0..16
    larger = [Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in grey]
    images = np.stack([np.asarray(image) for image in larger])
    train, test = train_test_split(
        np.arange(len(images)), test_size=NUM_TEST, stratify=digits.target, random_state=0
    )
    return {name: (images[rows], digits.target[rows]) for name, rows in (("train", train), ("test", test))}


def _to_png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="png")
    return file.getvalue()


build(FOLDER.expanduser())
