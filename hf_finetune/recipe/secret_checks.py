"""No secret in a recipe: it is read by others, kept in the run folder and pushed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hf_finetune.recipe.places import Finding, KeyPath
from hf_finetune.secrecy import find_credential, is_harmless, is_secret

__all__ = ["find_secrets"]

MIN_DIGITS = 6
"""A number with fewer is no password."""

_COLUMNS = ("data", "columns")
"""There the keys are what the task calls its columns."""
_TODO = (
    "Run `hf auth login` or set HF_TOKEN; other services have files and variables of their own, "
    "such as ~/.netrc or AWS_SECRET_ACCESS_KEY."
)
_IN_URL = (
    "Take it out of the URL, and name user and password in ~/.netrc; for S3, in AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY."
)


def find_secrets(value: Any, path: KeyPath = ()) -> Iterator[Finding]:
    """Yield what is a secret, by the name of its key or by its form; signed URLs are none of them.

    Args:
        value: A recipe as plain data.
        path: Where it stands.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if path != _COLUMNS and is_secret(str(key)) and _has_text(item):
                yield Finding((*path, key), "a secret does not belong in a recipe", _TODO, is_about_key=True)
            else:
                yield from find_secrets(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from find_secrets(item, (*path, index))
    elif isinstance(value, str) and (found := find_credential(value)):
        todo = _IN_URL if "URL" in found else _TODO
        yield Finding(path, f"{found} does not belong in a recipe", todo)


def _has_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_text, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_text, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return len(str(value)) >= MIN_DIGITS
    return isinstance(value, str) and not is_harmless(value)
