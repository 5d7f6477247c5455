"""What the pre-training is worth: the checkpoint against the same model from random weights, on digits.

    python recipes/quickstart/compare.py        # about five CPU minutes; prints the table of the model card

Both get the same labelled images, the same number of updates and the same settings; three seeds each, which
draw the images, their order and the new layers. The learning rate was the best of 1.5e-3, 3e-3 and 5e-3 for
both, on training images held out; the test images are looked at once, here.
"""

from __future__ import annotations

from pathlib import Path

import datasets
import digits
import numpy as np
import torch
from make_checkpoint import accuracy, build_model, to_pixels, train
from sklearn.model_selection import train_test_split
from transformers import DeiTForImageClassification

CHECKPOINT = Path(__file__).parent / "checkpoint"
NUM_UPDATES, BATCH_SIZE, LEARNING_RATE, SEEDS = 450, 32, 3e-3, (0, 1, 2)

Split = tuple[torch.Tensor, torch.Tensor]
"""Pixels [N, 3, 16, 16] and labels [N]."""


def main() -> None:
    """Print one row for each number of labelled images."""
    torch.set_num_threads(1)
    loaded = datasets.load_dataset(str(digits.FOLDER.expanduser()))
    labelled, test = read_split(loaded["train"]), read_split(loaded["test"])
    print("| labelled images | pre-trained | from scratch |")
    print("| ---: | ---: | ---: |")
    for num_labelled in (100, 300, len(labelled[1])):
        cells = []
        for is_pretrained in (True, False):
            scores = [score(labelled, test, num_labelled, is_pretrained, seed) for seed in SEEDS]
            cells.append(f"{np.mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})")
        print(f"| {num_labelled:,} | {cells[0]} | {cells[1]} |", flush=True)


def read_split(split: datasets.Dataset) -> Split:
    """Return all rows of a split as the model takes them."""
    images = np.stack([np.asarray(image) for image in split["image"]])
    return to_pixels(images), torch.tensor(split["label"])


def score(labelled: Split, test: Split, num_labelled: int, is_pretrained: bool, seed: int) -> float:
    """Fine-tune on some of the labelled images and return the accuracy on the test images."""
    pixels, labels = labelled
    rows = np.arange(len(labels))
    if num_labelled < len(rows):
        rows, _ = train_test_split(rows, train_size=num_labelled, stratify=labels, random_state=seed)
    model = build_model(digits.NAMES, seed=seed)
    if is_pretrained:
        pretrained = DeiTForImageClassification.from_pretrained(CHECKPOINT)
        model.deit.load_state_dict(pretrained.deit.state_dict())
    train(
        model,
        pixels[rows],
        labels[rows],
        num_updates=NUM_UPDATES,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        seed=seed,
    )
    return accuracy(model, *test)


if __name__ == "__main__":
    main()
