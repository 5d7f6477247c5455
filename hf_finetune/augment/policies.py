"""RandAugment and TrivialAugment: random changes drawn from a fixed set, of one strength or of any.

The set of changes, their strengths and defaults are torchvision's (`RandAugment`, `TrivialAugmentWide`), done
by PIL as in the papers' own code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from hf_finetune.augment.base import AUGMENTATIONS, ImageAugmentation, check_number

__all__ = ["RandAugment", "TrivialAugment"]

BINS = 31
"""Strengths run from 0 to BINS - 1."""


@dataclass(frozen=True)
class _Reach:
    """How far the strongest change goes.

    Args:
        shear: In pixels per pixel.
        translate: In pixels, or as a share of the edge when below 1.
        degrees: Of rotation.
        factor: 1 +- this for colour, contrast, brightness and sharpness.
        bits: Taken away by posterize.
    """

    shear: float
    translate: float
    degrees: float
    factor: float
    bits: int


RAND = _Reach(shear=0.3, translate=150 / 331, degrees=30.0, factor=0.9, bits=4)
WIDE = _Reach(shear=0.99, translate=32.0, degrees=135.0, factor=0.99, bits=6)

Change = Callable[[Image.Image, float, _Reach], Image.Image]
"""(picture, strength -1..1, reach) -> picture. A strength below 0 goes the other way."""


def _affine(picture: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


def _shift(edge: int, reach: _Reach) -> float:
    return reach.translate * edge if reach.translate < 1 else reach.translate


def _enhance(enhancer: Callable[[Image.Image], ImageEnhance._Enhance]) -> Change:
    return lambda picture, strength, reach: enhancer(picture).enhance(1 + strength * reach.factor)


SIGNED: dict[str, Change] = {
    "shear_x": lambda picture, s, r: _affine(picture, (1, s * r.shear, 0, 0, 1, 0)),
    "shear_y": lambda picture, s, r: _affine(picture, (1, 0, 0, s * r.shear, 1, 0)),
    "translate_x": lambda picture, s, r: _affine(picture, (1, 0, s * _shift(picture.width, r), 0, 1, 0)),
    "translate_y": lambda picture, s, r: _affine(picture, (1, 0, 0, 0, 1, s * _shift(picture.height, r))),
    "rotate": lambda picture, s, r: picture.rotate(s * r.degrees),
    "brightness": _enhance(ImageEnhance.Brightness),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}
UNSIGNED: dict[str, Change] = {
    "identity": lambda picture, s, r: picture,
    "posterize": lambda picture, s, r: ImageOps.posterize(picture, 8 - round(s * r.bits)),
    "solarize": lambda picture, s, r: ImageOps.solarize(picture, round(256 * (1 - s))),
    "autocontrast": lambda picture, s, r: ImageOps.autocontrast(picture),
    "equalize": lambda picture, s, r: ImageOps.equalize(picture),
}
CHANGES = tuple({**SIGNED, **UNSIGNED})


def _change(picture: Image.Image, strength: float, reach: _Reach, rng: np.random.Generator) -> Image.Image:
    name = CHANGES[rng.integers(len(CHANGES))]
    if name in UNSIGNED:
        return UNSIGNED[name](picture, strength, reach)
    return SIGNED[name](picture, strength if rng.random() < 0.5 else -strength, reach)


@AUGMENTATIONS.register("rand_augment")
@dataclass(frozen=True, kw_only=True)
class RandAugment(ImageAugmentation):
    """Make `num_ops` random changes, all of one strength.

    Args:
        num_ops: 1 to 10.
        magnitude: The strength, 0 to 30.

    Source: Cubuk et al. 2019, "RandAugment" (arXiv 1909.13719).
    """

    num_ops: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        check_number("num_ops", self.num_ops, 1, 10, is_whole=True)
        check_number("magnitude", self.magnitude, 0, BINS - 1, is_whole=True)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return an image of the same size."""
        picture = Image.fromarray(image)
        for _ in range(self.num_ops):
            picture = _change(picture, self.magnitude / (BINS - 1), RAND, rng)
        return np.asarray(picture)


@AUGMENTATIONS.register("trivial_augment")
@dataclass(frozen=True, kw_only=True)
class TrivialAugment(ImageAugmentation):
    """Make one random change of random strength, from nothing to very strong. There is nothing to tune.

    Source: Müller and Hutter 2021, "TrivialAugment" (arXiv 2103.10158), the wide set.
    """

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return an image of the same size."""
        strength = int(rng.integers(BINS)) / (BINS - 1)
        return np.asarray(_change(Image.fromarray(image), strength, WIDE, rng))
