"""Pre-train the demonstration checkpoint: a small DeiT on Fashion-MNIST, about three CPU minutes.

    python recipes/quickstart/make_checkpoint.py            # writes recipes/quickstart/checkpoint/
    python recipes/quickstart/make_checkpoint.py --output X # writes it somewhere else, to compare

The data come with Debian's package `dataset-fashion-mnist`; `--data` takes the four idx files of any other
copy. The same bytes come out on every x86-64 machine with the versions of constraints.txt: one thread, fixed
seeds, and no instructions beyond SSE4.1, which costs a factor of 2.5.
"""

from __future__ import annotations

import os

# read when torch is loaded: which instructions a sum is computed with decides its last bits
os.environ.update(
    ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE", ONEDNN_MAX_CPU_ISA="SSE41", OMP_NUM_THREADS="1"
)

import argparse
import gzip
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import DeiTConfig, DeiTForImageClassification, DeiTImageProcessorPil

# B rows of a batch, 3 channels, 16 x 16 pixels
SIZE = 16
FASHION_NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SEED, NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE, MAX_SHIFT = 0, 4, 64, 3e-3, 2

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def main() -> None:
    """Read, train, evaluate, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEBIAN_FOLDER, help="folder with the four idx.gz files")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "checkpoint")
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pixels, labels = read_fashion(options.data, "train")
    test_pixels, test_labels = read_fashion(options.data, "t10k")
    started = time.process_time()
    model = build_model(FASHION_NAMES, seed=SEED)
    num_updates = NUM_EPOCHS * -(-len(pixels) // BATCH_SIZE)
    train(
        model,
        pixels,
        labels,
        num_updates=num_updates,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        seed=SEED,
        augment=shift_and_flip,
    )
    print(f"{num_updates} updates in {time.process_time() - started:.0f} CPU s")
    print(f"accuracy on Fashion-MNIST's test images: {accuracy(model, test_pixels, test_labels):.4f}")
    model.save_pretrained(options.output)
    build_processor().save_pretrained(options.output)
    weights = options.output / "model.safetensors"
    print(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights}")


def read_fashion(folder: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read one split ("train" or "t10k") from its idx files.

    Returns:
        Pixels [N, 3, 16, 16] and labels [N].
    """
    names = (f"{split}-images-idx3-ubyte.gz", 16), (f"{split}-labels-idx1-ubyte.gz", 8)
    if not (folder / names[0][0]).is_file():
        raise SystemExit(
            f"Fashion-MNIST is not in {folder}. On Debian or Ubuntu: apt-get install dataset-fashion-mnist. "
            "Elsewhere: take the four files from https://github.com/zalandoresearch/fashion-mnist and give "
            "their folder as --data."
        )
    images, labels = (
        np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=header)
        for name, header in names
    )
    return to_pixels(images.reshape(-1, 28, 28)), torch.from_numpy(labels.astype(np.int64))


def to_pixels(images: np.ndarray) -> torch.Tensor:
    """Turn grey images, uint8 [N, H, W], into what the model takes; the shipped processor does the same.

    Returns:
        float [N, 3, 16, 16] from -1 to 1.
    """
    scaled = [Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in images]
    grey = torch.from_numpy(np.stack([np.asarray(image) for image in scaled])).float() / 127.5 - 1
    return grey[:, None].expand(-1, 3, -1, -1)


def build_processor() -> DeiTImageProcessorPil:
    """Return the processor for any image: scaled to 16 x 16, values from -1 to 1."""
    size = {"height": SIZE, "width": SIZE}
    half = [0.5, 0.5, 0.5]
    return DeiTImageProcessorPil(
        size=size,
        resample=Image.Resampling.BICUBIC,
        do_center_crop=False,
        image_mean=half,
        image_std=half,
    )


def build_model(names: list[str], *, seed: int) -> DeiTForImageClassification:
    """Return a DeiT of 139k parameters with random weights."""
    torch.manual_seed(seed)
    config = DeiTConfig(
        image_size=SIZE,
        patch_size=4,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        # at this width the usual 0.02 leaves the attention nearly uniform, and training hardly starts
        initializer_range=0.1,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    return DeiTForImageClassification(config)


def train(
    model: nn.Module,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    *,
    num_updates: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    augment: Augment | None = None,
) -> None:
    """Train with AdamW and a one-cycle schedule, epoch after epoch until the updates are done."""
    # fused: the other variants take their square roots from MKL, which differ between processors
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, num_updates, pct_start=0.1)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    rows: list[torch.Tensor] = []
    for _ in range(num_updates):
        rows = rows or list(torch.randperm(len(pixels), generator=generator).split(batch_size))
        batch = rows.pop(0)
        inputs = augment(pixels[batch], generator) if augment else pixels[batch]
        loss = nn.functional.cross_entropy(model(inputs).logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def shift_and_flip(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to two pixels and mirror every second one, on average. [B, 3, 16, 16]."""
    padded = nn.functional.pad(pixels, [MAX_SHIFT] * 4, value=-1.0)
    offsets = torch.randint(0, 2 * MAX_SHIFT + 1, (2, len(pixels), 1), generator=generator) + torch.arange(
        SIZE
    )
    is_flipped = torch.rand(len(pixels), generator=generator) < 0.5
    columns = torch.where(is_flipped[:, None], offsets[1].flip(-1), offsets[1])
    rows_of_batch = torch.arange(len(pixels))[:, None, None]
    moved = padded[rows_of_batch, :, offsets[0][:, :, None], columns[:, None, :]]  # [B, 16, 16, 3]
    return moved.permute(0, 3, 1, 2)


@torch.no_grad()
def accuracy(model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose class is predicted right."""
    model.eval()
    hits = [
        model(inputs).logits.argmax(-1) == wanted
        for inputs, wanted in zip(pixels.split(500), labels.split(500), strict=True)
    ]
    return float(torch.cat(hits).float().mean())


if __name__ == "__main__":
    main()
