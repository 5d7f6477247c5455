"""The recipe as a flat table, for trackers that compare runs by their parameters."""

from __future__ import annotations

import json
from typing import Any

from hf_finetune.formatting import flatten_keys
from hf_finetune.recipe import Recipe
from hf_finetune.secrecy import hide_in

__all__ = ["describe_recipe", "flatten_recipe"]

MAX_TEXT = 1000


def flatten_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return every key of a resolved recipe once, dotted, without secrets; lists are written as JSON.

    Args:
        recipe: Resolved: as `recipe.yaml` of the run folder says it.
    """
    flat = flatten_keys(hide_in(recipe.model_dump(mode="json")))
    return {key: _plain(value) for key, value in flat.items()}


def _plain(value: Any) -> Any:
    """Leave numbers and text as they are; trackers cut longer texts, and say so each time."""
    if isinstance(value, str | int | float):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 4]} ..."


def describe_recipe(recipe: Recipe) -> str:
    """Return the resolved recipe as Markdown."""
    return f"```yaml\n{recipe.to_yaml()}```"
