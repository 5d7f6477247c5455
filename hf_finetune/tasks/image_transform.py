"""Decoded images -> `pixel_values`, as the checkpoint's own processor makes them, several times faster.

Most image processors resize, cut out the centre, rescale and normalise. These four are done here with the
same results. Whether a processor is one of these is not read off its class: the results are compared, and
where they differ by more than one grey level anywhere the processor itself does the work, a batch at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from hf_finetune.tasks.resize import SUPPORT, Geometry, resize_and_crop
from hf_finetune.tasks.values import Row

__all__ = ["ImageTransform"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Resize, cut out the centre, then (level / divisor - mean) / std.

    Args:
        geometry: The first two.
        divisor: Of grey levels.
        mean: [3, 1, 1], or None not to normalise.
        std: [3, 1, 1].
    """

    geometry: Geometry
    divisor: float
    mean: torch.Tensor | None
    std: torch.Tensor | None

    def normalise(self, levels: torch.Tensor) -> None:
        """Turn grey levels [3, H, W] into model inputs in place, by the processors' very operations."""
        levels.div_(self.divisor)
        if self.mean is not None and self.std is not None:
            levels.sub_(self.mean).div_(self.std)

    @property
    def level(self) -> float:
        """One grey level as a difference of model inputs, in the channel where it is largest."""
        return 1 / self.divisor / (1.0 if self.std is None else float(self.std.min()))


class ImageTransform:
    """Turn decoded images into model inputs.

    Args:
        processor: The checkpoint's image processor.
        samples: Rows to compare on, besides made-up images.

    Attributes:
        is_fast: Whether the processor's work is done here; else the processor is called.
    """

    def __init__(self, processor: Any, samples: Sequence[Row] = ()) -> None:
        self.processor = processor
        self._plan = _read_plan(processor)
        pictures = [*_made_up_images(), *(row["image"] for row in samples)]
        if self._plan is not None and not self._agrees(self._plan, pictures):
            self._plan = None
        self.is_fast = self._plan is not None
        if not self.is_fast:
            kind = type(processor).__name__
            logger.info("%s does more than resize, crop and normalise: it is called for every batch", kind)

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return the model inputs of `{"image": uint8 [H, W, 3]}`: `pixel_values` is float32 [B, 3, H, W]."""
        images = [row["image"] for row in rows]
        return self._by_processor(images) if self._plan is None else self._by_plan(self._plan, images)

    def _by_processor(self, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        inputs = self.processor([Image.fromarray(image) for image in images], return_tensors="pt")
        return {name: inputs[name] for name in self.processor.model_input_names if name in inputs}

    @staticmethod
    def _by_plan(plan: _Plan, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        height, width = plan.geometry.crop or plan.geometry.size  # type: ignore[misc]
        pixels = torch.empty(len(images), 3, height, width)
        for image, out in zip(images, pixels, strict=True):  # one by one: each stays in the processor's cache
            resize_and_crop(image, plan.geometry, out)
            plan.normalise(out)
        return {"pixel_values": pixels}

    def _agrees(self, plan: _Plan, images: Sequence[np.ndarray]) -> bool:
        for image in images:
            theirs = self._by_processor([image])
            if theirs.keys() != {"pixel_values"}:
                return False
            ours, wanted = self._by_plan(plan, [image])["pixel_values"], theirs["pixel_values"]
            if ours.shape != wanted.shape or (ours - wanted).abs().max() > 1.001 * plan.level:
                return False
        return True


def _read_plan(processor: Any) -> _Plan | None:
    """Read a plan off a processor's settings; None when they already say that it does something else."""

    def get(name: str) -> Any:
        return getattr(processor, name, None)

    geometry = _read_geometry(processor)
    if geometry is None or get("do_pad") or not get("do_rescale") or not get("rescale_factor"):
        return None
    if not get("do_normalize"):
        return _Plan(geometry=geometry, divisor=1 / get("rescale_factor"), mean=None, std=None)
    mean, std = (torch.tensor(get(name)).reshape(-1, 1, 1) for name in ("image_mean", "image_std"))
    return _Plan(geometry=geometry, divisor=1 / get("rescale_factor"), mean=mean, std=std)


def _read_geometry(processor: Any) -> Geometry | None:
    """Return how all images come to one size; None when they do not, or by other means."""
    size = _read_size(processor, "size") if getattr(processor, "do_resize", False) else None
    resample = getattr(processor, "resample", None)
    if size is None or resample not in SUPPORT:
        return None
    if not getattr(processor, "do_center_crop", False):
        return Geometry(resample=resample, size=size, crop=None) if isinstance(size, tuple) else None
    crop = _read_size(processor, "crop_size")
    height, width = size if isinstance(size, tuple) else (size, size)
    # a processor pads what is smaller than the crop
    if not isinstance(crop, tuple) or height < crop[0] or width < crop[1]:
        return None
    return Geometry(resample=resample, size=size, crop=crop)


def _read_size(processor: Any, name: str) -> tuple[int, int] | int | None:
    """Return (height, width), or the length of the shorter edge; None for any other kind of size."""
    size = getattr(processor, name, None)
    given = {key: value for key, value in dict(size or {}).items() if value is not None}
    if given.keys() == {"height", "width"}:
        return given["height"], given["width"]
    return given["shortest_edge"] if given.keys() == {"shortest_edge"} else None


def _made_up_images() -> list[np.ndarray]:
    """Return noise of several shapes, enlarged and reduced, wide and tall: no difference can hide in it."""
    rng = np.random.default_rng(0)
    shapes = ((32, 32), (61, 47), (16, 60), (40, 200), (450, 301), (224, 224))
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
