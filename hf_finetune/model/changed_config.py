"""`model.config`: a change that the weights of the checkpoint cannot follow is refused, and the key named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hf_finetune.errors import ModelError, UserError
from hf_finetune.formatting import first_words
from hf_finetune.recipe import Recipe

__all__ = ["refuse_new_sizes", "require_kept", "trying_changes"]


@contextmanager
def trying_changes(recipe: Recipe, what: str) -> Iterator[None]:
    """Turn what a model with a changed config stumbles over into a message about these changes.

    Args:
        recipe: Without changes nothing is caught.
        what: What is tried, after "with these changes".

    Raises:
        ModelError: It failed.
    """
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a config can be wrong in every way
        if not recipe.model.config:
            raise
        raise ModelError(
            f"model.config: with these changes {what}: {type(error).__name__}: {first_words(error)}",
            where=recipe.where("model.config"),
            todo=f"Take back what does not fit: {', '.join(recipe.model.config)}.",
        ) from error


def require_kept(recipe: Recipe, config: Any) -> None:
    """Refuse a change that the labels of the data decide anew.

    Raises:
        ModelError: Naming the key and what it is set to.
    """
    for key, value in recipe.model.config.items():
        now = getattr(config, key)
        if now != value:
            raise ModelError(
                f"model.config.{key}: got {value!r}, and it follows from the data: {_shorten(now)}",
                where=recipe.where(f"model.config.{key}"),
                todo="Remove it.",
            )


def refuse_new_sizes(
    recipe: Recipe,
    model: nn.Module,
    other_shape: Sequence[str],
    missing: Sequence[str],
    build: Callable[[Recipe], nn.Module],
) -> None:
    """Refuse weights of the body that the checkpoint has otherwise, or not, because of a changed config.

    They would be random in the midst of trained ones. What is wholly new beside them, such as the adapter
    that `add_adapter: true` brings to wav2vec2, is a new layer like a head.

    Args:
        recipe: Reads `model.config`.
        model: As loaded.
        other_shape: Parameters whose shape in the checkpoint is another.
        missing: Parameters that the checkpoint does not have.
        build: Makes the same model, without weights, of a recipe with fewer changes.

    Raises:
        ModelError: Naming the keys that ask for them.
    """
    if not recipe.model.config:
        return
    body = f"{getattr(model, 'base_model_prefix', '')}."
    there = {_part(name, body) for name, _ in model.named_parameters() if name not in missing}
    wrong = [name for name in other_shape if name.startswith(body)]
    wrong += [name for name in missing if name.startswith(body) and _part(name, body) in there]
    if not wrong:
        return
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    keys = []
    for key in recipe.model.config:
        others = {name: value for name, value in recipe.model.config.items() if name != key}
        before = dict(
            build(
                recipe.model_copy(update={"model": recipe.model.model_copy(update={"config": others})})
            ).named_parameters()
        )
        if any(name not in before or before[name].shape != shapes[name] for name in wrong):
            keys.append(key)
    keys = keys or list(recipe.model.config)
    raise ModelError(
        f"model.config.{keys[0]}: {len(wrong)} of the weights of {recipe.model.checkpoint} do not fit "
        f"with it (such as {wrong[0]}), and would begin as random numbers",
        where=recipe.where(f"model.config.{keys[0]}"),
        # a processor goes on making pictures as the checkpoint takes them
        todo=f"Remove {' and '.join(keys)}"
        + (", or say model.from_scratch: true." if {"image_size", "num_channels"}.isdisjoint(keys) else "."),
    )


def _part(name: str, body: str) -> str:
    """Return the module just below the body that a parameter belongs to."""
    return name.removeprefix(body).partition(".")[0] if name.startswith(body) else ""


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
