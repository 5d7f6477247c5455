"""Image files of every kind -> RGB pixels, decoded and checked once.

Small images are cached as raw pixels: one of 32 x 32 takes 3 kB, and reading it back costs a copy. Images
above `RAW_PIXELS` stay in their file format and are decoded each time: 500 x 500 raw pixels would take ten
times the disk of the JPEG.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from hf_finetune.tasks.files import find_file, hash_content, tell_problem
from hf_finetune.tasks.values import Fetch, Preparation, Row

__all__ = ["RAW_PIXELS", "build_image_preparation", "decode_image", "rank_image", "read_images", "to_rgb"]

RAW_PIXELS = 128 * 128
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def rank_image(name: str, feature: Any, sample: Any) -> int | None:
    """Say how likely a column holds the images: Image features before file names and bytes."""
    import datasets

    if isinstance(feature, datasets.Image):
        return 0 if name == "image" else 1
    if isinstance(sample, str) and Path(sample).suffix.lower() in SUFFIXES:
        return 2
    return 3 if isinstance(sample, bytes) else None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB.

    Transparency is laid on white: dropping the alpha channel, as `convert("RGB")` does, shows the colours
    hidden under it, mostly black. 16-bit grey is scaled from 0..65535 to 0..255, where `convert` would clip.

    Raises:
        ValueError: The values of the mode have no known range (32-bit integers, floats).

    Example:
        >>> to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no known range of values; save it with 8 or 16 bits")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), coloured)
    return image.convert("RGB")


def decode_image(value: Any, folders: Sequence[str] = ()) -> np.ndarray:
    """Read one image, upright, as RGB.

    Args:
        value: A file name, the bytes of a file, or `{"path": ..., "bytes": ...}`.
        folders: Where a relative file name may start; the first that has the file is taken.

    Returns:
        uint8 [H, W, 3].

    Raises:
        Exception: Whatever the decoder raises on a damaged file.
    """
    import datasets

    if isinstance(value, bytes):
        value = {"path": None, "bytes": value}
    elif isinstance(value, str):
        value = {"path": find_file(value, folders), "bytes": None}
    if value["bytes"] is None and value["path"] and "://" not in value["path"]:
        path = Path(find_file(value["path"], folders))
        value = {**value, "bytes": path.read_bytes()}  # PIL leaves a damaged file open
    with warnings.catch_warnings():
        # a camera's damaged EXIF block and the like: the pixels are what counts, and they are checked
        warnings.simplefilter("ignore")
        image = datasets.Image().decode_example(value)
        return np.asarray(to_rgb(image))


def build_image_preparation(folders: Sequence[str]) -> Preparation:
    """Return how image columns are prepared: decoded, checked, small ones kept as pixels."""
    import datasets

    return Preparation(
        function=partial(_prepare, folders=tuple(folders)),
        read=partial(read_images, folders=tuple(folders)),
        features=datasets.Features(
            {
                "pixels": datasets.Value("large_binary"),
                "height": datasets.Value("int32"),
                "width": datasets.Value("int32"),
                "digest": datasets.Value("int64"),
                "problem": datasets.Value("string"),
            }
        ),
        key=f"images-1-{RAW_PIXELS}-{','.join(folders)}",
        folders=tuple(folders),
    )


def read_images(table: pa.Table, fetch: Fetch, folders: Sequence[str] = ()) -> list[Row]:
    """Read prepared images back as `{"image": uint8 [H, W, 3]}`, decoding again those not kept as pixels."""
    heights, widths = table["height"].to_numpy(), table["width"].to_numpy()
    images: list[np.ndarray | None] = []
    for pixels, height, width in zip(table["pixels"], heights, widths, strict=True):
        buffer = pixels.as_buffer()
        images.append(None if buffer is None else np.frombuffer(buffer, np.uint8).reshape(height, width, 3))
    missing = [i for i, image in enumerate(images) if image is None]
    for i, value in zip(missing, fetch(missing) if missing else (), strict=True):
        images[i] = decode_image(value, folders)
    return [{"image": image} for image in images]


def _prepare(values: list[Any], *, folders: tuple[str, ...]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {k: [] for k in ("pixels", "height", "width", "digest", "problem")}
    for value in values:
        image, problem = _try_decode(value, folders)
        raw = b"" if image is None else image.tobytes()
        height, width = (0, 0) if image is None else image.shape[:2]
        columns["pixels"].append(raw if image is not None and height * width <= RAW_PIXELS else None)
        columns["height"].append(height)
        columns["width"].append(width)
        columns["digest"].append(hash_content(raw))
        columns["problem"].append(problem)
    return columns


def _try_decode(value: Any, folders: Sequence[str]) -> tuple[np.ndarray | None, str | None]:
    if value is None:
        return None, "there is no image (null)"
    try:
        return decode_image(value, folders), None
    except Exception as error:  # decoders raise nearly anything on damaged files; each is this row's problem
        # PIL's own words name an address in memory
        is_foreign = isinstance(error, UnidentifiedImageError)
        told = "not an image file" if is_foreign else str(error) or type(error).__name__
        return None, tell_problem(value, told)
