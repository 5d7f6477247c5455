"""Decoded images -> `pixel_values`, as the checkpoint's own processor makes them, several times faster.

Most image processors resize, cut out the centre, rescale and normalise. Those four are done here on whole
batches: torch's antialiased resize on uint8 (the same filters as PIL's, with weights of 16 bits: at most one grey
level apart, mostly equal) and a table of 256 numbers per channel, which is exact. Whether a processor is one of
these is not read off its class: the result is compared with the processor's own, and where it differs by more than one
grey level anywhere the processor itself does the work, a batch at a time.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from hf_finetune.tasks.base import Row

__all__ = ["ImageTransform"]

logger = logging.getLogger(__name__)

MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Resize, cut out the centre, look up."""

    mode: str | None
    size: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    table: np.ndarray  # [3, 256] float32: grey level -> model input
    level: float  # the largest step of the table: one grey level

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width after resizing."""
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        short, long = sorted((height, width))
        longer = int(self.size * long / short)
        return (self.size, longer) if height <= width else (longer, self.size)


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
        if self._plan is not None and not self._agrees(
            [*_made_up_images(), *(row["image"] for row in samples)]
        ):
            self._plan = None
        self.is_fast = self._plan is not None
        if not self.is_fast:
            logger.info(
                "%s does more than resize, crop and normalise: it is called for every batch", processor
            )

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """Return the model inputs of `{"image": uint8 [H, W, 3]}` rows: `pixel_values` float32 [B, 3, H, W]."""
        images = [row["image"] for row in rows]
        return self._by_processor(images) if self._plan is None else {"pixel_values": self._by_plan(images)}

    def _by_processor(self, images: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        inputs = self.processor([Image.fromarray(image) for image in images], return_tensors="pt")
        return {name: inputs[name] for name in self.processor.model_input_names if name in inputs}

    def _by_plan(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        assert self._plan is not None
        of_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, image in enumerate(images):
            of_shape[image.shape[:2]].append(i)
        pixels: torch.Tensor | None = None
        for members in of_shape.values():
            stack = np.stack([images[i] for i in members])  # [b, H, W, 3]
            small = self._resize_and_crop(self._plan, stack)
            if pixels is None:
                pixels = torch.empty((len(images), 3, *small.shape[1:3]))
            out = pixels.numpy()
            for i, image in zip(members, small, strict=True):
                for channel in range(3):
                    # mode="clip" takes numpy's path without a bounds check; a uint8 is never out of bounds
                    np.take(self._plan.table[channel], image[..., channel], out=out[i, channel], mode="clip")
        assert pixels is not None
        return pixels

    @staticmethod
    def _resize_and_crop(plan: _Plan, stack: np.ndarray) -> np.ndarray:
        height, width = plan.target(*stack.shape[1:3])
        if plan.mode is not None and (height, width) != stack.shape[1:3]:
            # a permuted view of channels-last pixels is what torch's vectorised uint8 kernel wants
            resized = functional.interpolate(
                torch.from_numpy(stack).permute(0, 3, 1, 2),
                size=(height, width),
                mode=plan.mode,
                antialias=True,
            )
            stack = resized.permute(0, 2, 3, 1).numpy()
        if plan.crop is None:
            return stack
        top, left = (height - plan.crop[0]) // 2, (width - plan.crop[1]) // 2
        return stack[:, top : top + plan.crop[0], left : left + plan.crop[1]]

    def _agrees(self, images: Sequence[np.ndarray]) -> bool:
        assert self._plan is not None
        for image in images:
            theirs = self._by_processor([image])
            if theirs.keys() != {"pixel_values"}:
                return False
            ours, wanted = self._by_plan([image]), theirs["pixel_values"]
            if ours.shape != wanted.shape or (ours - wanted).abs().max() > 1.001 * self._plan.level:
                return False
        return True


def _read_plan(processor: Any) -> _Plan | None:
    """Read a plan off a processor's settings; None when they already say that it does something else."""

    def setting(name: str) -> Any:
        return getattr(processor, name, None)

    if setting("do_pad") or not setting("do_rescale") or setting("model_input_names") != ["pixel_values"]:
        return None
    levels = (np.arange(256, dtype=np.float64) * setting("rescale_factor")).astype(np.float32)
    table = np.tile(levels, (3, 1))  # [3, 256]
    if setting("do_normalize"):
        mean, std = (np.asarray(setting(k), np.float32).reshape(-1, 1) for k in ("image_mean", "image_std"))
        table = (table - mean) / std
    size: tuple[int, int] | int | None = None
    if setting("do_resize"):
        size = _read_size(setting("size"))
        if size is None or setting("resample") not in MODES:
            return None
    crop = _read_size(setting("crop_size")) if setting("do_center_crop") else None
    if crop is not None:
        edges = (size, size) if isinstance(size, int) else size
        # a crop larger than the image is padded by the processor; an image of any size may come without resize
        if not isinstance(crop, tuple) or edges is None or edges[0] < crop[0] or edges[1] < crop[1]:
            return None
    elif not isinstance(size, tuple):
        return None
    mode = None if size is None else MODES[setting("resample")]
    level = float(np.abs(np.diff(table, axis=1)).max())
    return _Plan(mode=mode, size=size, crop=crop, table=np.ascontiguousarray(table), level=level)


def _read_size(size: Any) -> tuple[int, int] | int | None:
    """Return (height, width), or the length of the shorter edge; None for any other kind of size."""
    given = {key: value for key, value in dict(size or {}).items() if value is not None}
    if given.keys() == {"height", "width"}:
        return given["height"], given["width"]
    return given["shortest_edge"] if given.keys() == {"shortest_edge"} else None


def _made_up_images() -> list[np.ndarray]:
    """Return noise of several shapes: enlarged, reduced, wide and tall, so that no filter can hide."""
    rng = np.random.default_rng(0)
    shapes = ((32, 32), (61, 47), (40, 200), (450, 301), (224, 224))
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
