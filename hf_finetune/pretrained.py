"""The config of a recipe's checkpoint, read before any weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hf_finetune.errors import ModelError
from hf_finetune.hub_access import reading_hub

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["load_config", "reading_checkpoint", "refusing_pickles"]


def load_config(recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
    """Return the config of a recipe's checkpoint, with the recipe's changes.

    Raises:
        HubError: The Hub cannot be reached, does not know the checkpoint or does not let us in.
        ModelError: There is no config, or it has no value of a name in `model.config`.
    """
    from transformers import AutoConfig

    spec = recipe.model
    with reading_checkpoint(recipe):
        config = AutoConfig.from_pretrained(
            spec.checkpoint, revision=spec.revision, trust_remote_code=trust_remote_code
        )
    unknown = [key for key in spec.config if not hasattr(config, key)]
    if unknown:
        raise ModelError(
            f"the config of {spec.checkpoint} has no {', '.join(map(repr, unknown))}",
            where=recipe.where(f"model.config.{unknown[0]}"),
            todo="Use names that are in the checkpoint's config.json.",
        )
    for key, value in spec.config.items():
        try:
            setattr(config, key, value)
        except Exception as error:  # configs check their values, each in its own way
            raise ModelError(
                f"model.config.{key}: got {value!r}: {' '.join(str(error).split())}",
                where=recipe.where(f"model.config.{key}"),
                todo="Write a value of the kind that is in the checkpoint's config.json.",
            ) from error
    return config


@contextmanager
def reading_checkpoint(recipe: Recipe) -> Iterator[None]:
    """Turn what the libraries raise on a checkpoint they cannot read into a message for the user."""
    checkpoint, where = recipe.model.checkpoint, recipe.where("model.checkpoint")
    try:
        with reading_hub("model", checkpoint, revision=recipe.model.revision, where=where):
            yield
    except (OSError, ValueError, ImportError) as error:  # a quantised one wants its own package
        if refused := _explain_refusal(str(error), recipe):
            raise refused from error
        raise ModelError(
            f"{checkpoint} cannot be loaded: {' '.join(str(error).split())}",
            where=where,
            todo="Name a checkpoint of transformers with safetensors weights.",
        ) from error


@contextmanager
def refusing_pickles(recipe: Recipe, source: object) -> Iterator[None]:
    """Let nothing inside read a pickle, unless the command line allows it.

    `use_safetensors` of transformers (5.23) looks at one name only: a safetensors index may name pickled
    shards, and a config an adapter_model.bin; PEFT (0.21) takes what there is. All end in `torch.load`.

    Args:
        recipe: Says whether a pickle may be read.
        source: What is read, for the message.

    Raises:
        ModelError: There is a pickle to read.
    """
    import torch

    if recipe.may_unpickle:
        yield
        return

    def refuse(file: Any, *args: Any, **options: Any) -> Any:
        raise ModelError(
            f"{source} keeps weights in a pickle: {file}",
            where=recipe.where("model.checkpoint"),
            todo="To read tensors out of it, add --allow-pickle.",
        )

    load = torch.load
    torch.load = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = load


def _explain_refusal(text: str, recipe: Recipe) -> ModelError | None:
    """Say what a checkpoint wants that only the command line may allow: its own code, or a pickle read."""
    checkpoint, where = recipe.model.checkpoint, recipe.where("model.checkpoint")
    if "trust_remote_code" in text:
        return ModelError(
            f"{checkpoint} at revision {recipe.model.revision or 'main'} comes with code of its own",
            where=where,
            todo="Read that code; to let it run on this machine, add --trust-remote-code.",
        )
    if not recipe.may_unpickle and ("model.safetensors" in text or "pytorch_model.bin" in text):
        return ModelError(
            f"{checkpoint} at revision {recipe.model.revision or 'main'} has no safetensors weights",
            where=where,
            todo="Name one that has; to read tensors out of a pickle, add --allow-pickle.",
        )
    return None
