"""Augmentations of images: crops, flips, rotation, colours, erasing.

They work on the pixels as they were decoded; the processor resizes afterwards, so nothing is resized twice.
The names, options and defaults are those of torchvision's transforms where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image, ImageEnhance

from hf_finetune.augment.base import (
    AUGMENTATIONS,
    ImageAugmentation,
    check_choice,
    check_number,
    check_pair,
)

__all__ = [
    "ColorJitter",
    "HorizontalFlip",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "Rotation",
    "VerticalFlip",
]

PAD_MODES = ("constant", "edge", "reflect")
TRIES = 10
"""How often a rectangle is drawn until one fits, as in torchvision."""


@AUGMENTATIONS.register("random_crop")
@dataclass(frozen=True, kw_only=True)
class RandomCrop(ImageAugmentation):
    """Shift the image by up to `padding` pixels each way; what comes in from outside is padding.

    Args:
        padding: In pixels of the image as it was decoded, 1 to 1024; 4 is usual for 32 x 32.
        mode: constant (`fill`), edge or reflect.
        fill: Grey level of constant padding, 0 to 255.

    Source: He et al. 2015, "Deep residual learning" (arXiv 1512.03385), section 4.2, after Lee et al. 2014.
    """

    padding: int = 4
    mode: str = "constant"
    fill: int = 0

    def __post_init__(self) -> None:
        check_number("padding", self.padding, 1, 1024, is_whole=True)
        check_choice("mode", self.mode, PAD_MODES)
        check_number("fill", self.fill, 0, 255, is_whole=True)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return an image of the same size."""
        height, width = image.shape[:2]
        pad = self.padding
        top, left = rng.integers(0, 2 * pad, size=2, endpoint=True)
        if self.mode == "constant":
            padded = np.full((height + 2 * pad, width + 2 * pad, 3), self.fill, np.uint8)
            padded[pad : pad + height, pad : pad + width] = image
        else:
            padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode=self.mode)  # type: ignore[call-overload]
        return padded[top : top + height, left : left + width]


@AUGMENTATIONS.register("random_resized_crop")
@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(ImageAugmentation):
    """Cut out a rectangle of random area and shape; the processor's resize brings it to the model's size.

    Args:
        scale: Smallest and largest share of the area, in (0, 1].
        ratio: Smallest and largest width / height.

    Source: Szegedy et al. 2014, "Going deeper with convolutions" (arXiv 1409.4842), section 6; the draws as
        in torchvision.transforms.RandomResizedCrop.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_pair("scale", self.scale, 1e-4, 1.0)
        check_pair("ratio", self.ratio, 0.01, 100.0)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a part of the image, of any size."""
        top, left, height, width = _draw_box(image, rng, self.scale, self.ratio) or _middle(image, self.ratio)
        return image[top : top + height, left : left + width]


@dataclass(frozen=True, kw_only=True)
class _Flip(ImageAugmentation):
    """Mirror the image along `axis`.

    Args:
        p: Probability, 0 to 1.
    """

    axis: ClassVar[int]
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the image or its mirror image."""
        return np.flip(image, self.axis) if rng.random() < self.p else image


@AUGMENTATIONS.register("horizontal_flip")
class HorizontalFlip(_Flip):
    """Mirror left and right, with probability `p`."""

    axis = 1


@AUGMENTATIONS.register("vertical_flip")
class VerticalFlip(_Flip):
    """Mirror top and bottom, with probability `p`."""

    axis = 0


@AUGMENTATIONS.register("rotation")
@dataclass(frozen=True, kw_only=True)
class Rotation(ImageAugmentation):
    """Turn the image about its centre; the corners that come in are filled.

    Args:
        degrees: The angle is uniform in [-degrees, degrees]; 0 to 180.
        fill: Grey level of the corners, 0 to 255.
    """

    degrees: float = 15.0
    fill: int = 0

    def __post_init__(self) -> None:
        check_number("degrees", self.degrees, 0, 180)
        check_number("fill", self.fill, 0, 255, is_whole=True)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return an image of the same size."""
        angle = rng.uniform(-self.degrees, self.degrees)
        turned = Image.fromarray(image).rotate(
            angle, resample=Image.Resampling.BILINEAR, fillcolor=(self.fill,) * 3
        )
        return np.asarray(turned)


@AUGMENTATIONS.register("color_jitter")
@dataclass(frozen=True, kw_only=True)
class ColorJitter(ImageAugmentation):
    """Change brightness, contrast, saturation and hue, in random order.

    Args:
        brightness: The factor is uniform in [max(0, 1 - x), 1 + x]; 0 leaves it alone.
        contrast: Likewise.
        saturation: Likewise.
        hue: The shift is uniform in [-x, x] turns of the colour wheel; 0 to 0.5.

    Source: torchvision.transforms.ColorJitter, after Krizhevsky 2014 (arXiv 1404.5997) and others.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.0

    def __post_init__(self) -> None:
        for option in ("brightness", "contrast", "saturation"):
            check_number(option, getattr(self, option), 0, 10)
        check_number("hue", self.hue, 0, 0.5)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the image in other colours."""
        picture = Image.fromarray(image)
        for step in rng.permutation(4):
            if step == 3:
                picture = _turn_hue(picture, rng.uniform(-self.hue, self.hue))
                continue
            enhancer = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[step]
            reach = (self.brightness, self.contrast, self.saturation)[step]
            picture = enhancer(picture).enhance(rng.uniform(max(0.0, 1 - reach), 1 + reach))
        return np.asarray(picture)


@AUGMENTATIONS.register("random_erasing")
@dataclass(frozen=True, kw_only=True)
class RandomErasing(ImageAugmentation):
    """Paint over a rectangle of random area and shape.

    Args:
        p: Probability, 0 to 1.
        scale: Smallest and largest share of the area, in (0, 1].
        ratio: Smallest and largest width / height.
        value: Grey level 0 to 255, or "random" for noise.

    Source: Zhong et al. 2017, "Random erasing data augmentation" (arXiv 1708.04896).
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: int | str = "random"

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)
        check_pair("scale", self.scale, 1e-4, 1.0)
        check_pair("ratio", self.ratio, 0.01, 100.0)
        if self.value != "random":
            check_number("value", self.value, 0, 255, is_whole=True)

    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a copy with the rectangle painted, or the image."""
        box = _draw_box(image, rng, self.scale, self.ratio) if rng.random() < self.p else None
        if box is None:
            return image
        top, left, height, width = box
        painted = image.copy()
        part = painted[top : top + height, left : left + width]
        part[...] = rng.integers(0, 256, part.shape, np.uint8) if self.value == "random" else self.value
        return painted


def _draw_box(
    image: np.ndarray, rng: np.random.Generator, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int, int, int] | None:
    """Draw top, left, height, width; None when no rectangle fitted. Always the same number of draws a try."""
    full_height, full_width = image.shape[:2]
    for _ in range(TRIES):
        area = full_height * full_width * rng.uniform(scale[0], scale[1])
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
        if 0 < height <= full_height and 0 < width <= full_width:
            top = int(rng.integers(0, full_height - height, endpoint=True))
            return top, int(rng.integers(0, full_width - width, endpoint=True)), height, width
    return None


def _middle(image: np.ndarray, ratio: Sequence[float]) -> tuple[int, int, int, int]:
    """Return the largest rectangle in the middle whose width / height is allowed."""
    full_height, full_width = image.shape[:2]
    width = min(full_width, max(1, round(full_height * ratio[1])))
    height = min(full_height, max(1, round(full_width / ratio[0])))
    return (full_height - height) // 2, (full_width - width) // 2, height, width


def _turn_hue(picture: Image.Image, turns: float) -> Image.Image:
    if not turns:
        return picture
    hue, saturation, value = picture.convert("HSV").split()
    turned = hue.point([(level + round(turns * 255)) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
