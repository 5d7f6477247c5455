"""Folders of sounds without torchcodec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets

__all__ = ["sounds_as_files"]


@contextmanager
def sounds_as_files() -> Iterator[None]:
    """Let `datasets` note down files of sounds without torchcodec.

    `Audio.encode_example` of datasets 5.2 imports torchcodec before it looks at what it was given. So an
    audiofolder cannot be loaded without it, although a file name is all that is noted down. What really has
    to be encoded still goes to the original.
    """
    original = datasets.Audio.encode_example

    def encode(self: datasets.Audio, value: Any) -> Any:
        if isinstance(value, str):
            return {"bytes": None, "path": value}
        if isinstance(value, dict) and "array" not in value and (value.get("bytes") or value.get("path")):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return original(self, value)

    datasets.Audio.encode_example = encode
    try:
        yield
    finally:
        datasets.Audio.encode_example = original
