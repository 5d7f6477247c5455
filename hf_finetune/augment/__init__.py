"""Named augmentations: random changes of decoded rows, made on the fly, on the training split only.

An augmentation is a class with keyword-only options and a call `(row, rng) -> row` that draws from the given
generator and from nothing else, and changes nothing in place. So the result is a function of the row and the
generator, which the data set makes of (seed, epoch, row).

The code for images is our own, on numpy and PIL: torchvision is no dependency of this project (it has no
build for every machine torch runs on), timm needs it, kornia is several times slower on single small images,
albumentations is no longer kept, and its successor is AGPL. Why that for sounds is our own stands in
sounds.py.
"""

from hf_finetune.augment import images, policies, sound_masks, sounds
from hf_finetune.augment.base import AUGMENTATIONS, Augmentation, Chain, build_augment

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Chain",
    "build_augment",
    "images",
    "policies",
    "sound_masks",
    "sounds",
]
