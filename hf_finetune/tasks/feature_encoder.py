"""The convolutions over the wave, of wav2vec2 and its kin, kept as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_finetune.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from hf_finetune.recipe import Recipe

__all__ = ["freeze_feature_encoder"]


def freeze_feature_encoder(
    model: nn.Module, recipe: Recipe, *, is_wanted: bool | None, from_scratch: bool
) -> None:
    """Freeze a model's convolutions by its own method, which leaves their gradients uncomputed, too.

    Args:
        model: To be changed.
        recipe: Says where the option is.
        is_wanted: None wants it of models that have convolutions over the wave.
        from_scratch: Whether the weights are random: these are never frozen.

    Raises:
        ModelError: It is wanted, and the model has no such part.

    Source: Baevski et al. 2020, "wav2vec 2.0" (arXiv 2006.11477): fine-tuning leaves them out.
    """
    network: Any = model
    has_encoder = hasattr(network, "freeze_feature_encoder")
    if is_wanted and not has_encoder:
        raise ModelError(
            f"{type(model).__name__} has no convolutions over the wave to freeze",
            where=recipe.where("task.freeze_feature_encoder"),
            todo="Remove it.",
        )
    if has_encoder and is_wanted is not False and not from_scratch:
        network.freeze_feature_encoder()
