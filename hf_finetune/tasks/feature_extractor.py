"""The feature extractor of a checkpoint for sound, and how much the model hears at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_finetune.errors import ModelError
from hf_finetune.formatting import first_words
from hf_finetune.hub_access import reading_hub

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["find_window", "load_feature_extractor"]


def load_feature_extractor(recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
    """Load the checkpoint's feature extractor at its revision; `sampling_rate` is the rate it wants.

    Raises:
        HubError: The Hub cannot be reached, does not know the checkpoint or does not let us in.
        ModelError: The checkpoint has no feature extractor.
    """
    from transformers import AutoFeatureExtractor

    checkpoint, revision = recipe.model.checkpoint, recipe.model.revision
    where = recipe.where("model.checkpoint")
    todo = "Name a checkpoint for sound."
    try:
        with reading_hub("model", checkpoint, revision=revision, where=where):
            extractor = AutoFeatureExtractor.from_pretrained(
                checkpoint, revision=revision, trust_remote_code=trust_remote_code
            )
    except (ValueError, OSError) as error:
        what = f"{checkpoint} has no feature extractor: {first_words(error)}"
        raise ModelError(what, where=where, todo=todo) from error
    if not getattr(extractor, "sampling_rate", None):
        raise ModelError(f"{checkpoint} has no sampling rate: it is not for sound", where=where, todo=todo)
    return extractor


def find_window(extractor: Any) -> float | None:
    """Return the seconds that a model with inputs of one length looks at; None for one that takes any."""
    if getattr(extractor, "chunk_length", None):  # Whisper: seconds
        return float(extractor.chunk_length)
    if getattr(extractor, "max_length", None) and getattr(extractor, "num_mel_bins", None):  # AST: frames
        return float(extractor.max_length) / 100 + 0.015  # of 25 ms, one every 10 ms
    return None
