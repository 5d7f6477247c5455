"""What a column of files holds, whatever is in them: file names, bytes, or both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["find_file", "hash_content", "tell_problem"]


def find_file(name: str, folders: Sequence[str]) -> str:
    """Return the path of a file: in the first folder that has it, or as the name says.

    Raises:
        FileNotFoundError: There is no such file.
    """
    for folder in folders:
        if (Path(folder) / name).is_file():
            return str(Path(folder) / name)
    if not Path(name).is_file():
        raise FileNotFoundError(f"no such file: {name}")
    return name


def hash_content(content: bytes) -> int:
    """Return an int64 that identifies some bytes, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def tell_problem(value: Any, told: str) -> str:
    """Put the name of the file before what is wrong with it, where there is a name and it is not told yet."""
    path = value if isinstance(value, str) else value.get("path") if isinstance(value, dict) else None
    return told if path is None or path in told else f"{path}: {told}"
