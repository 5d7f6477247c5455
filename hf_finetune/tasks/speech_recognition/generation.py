"""How a decoder writes: settings of the checkpoint, then of the recipe, kept in the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_finetune.errors import ModelError, RecipeError
from hf_finetune.hub_access import reading_hub

if TYPE_CHECKING:
    from torch import nn

    from hf_finetune.recipe import Recipe, SpeechRecognitionOptions

__all__ = ["set_generation"]

OF_WHISPER = ("forced_decoder_ids",)
"""Read by Whisper's own `generate` alone."""
FROM_ARGUMENTS = {"generation_max_length": "max_length", "generation_num_beams": "num_beams"}


def set_generation(
    model: nn.Module, recipe: Recipe, options: SpeechRecognitionOptions, tokenizer: Any
) -> None:
    """Put the settings for writing into `model.generation_config`.

    Later ones win: the checkpoint's generation_config.json, `training.generation_config`,
    `task.generation`, `task.language` and `task.task`, `training.generation_max_length` and
    `training.generation_num_beams`.

    Raises:
        ModelError: `training.generation_config` cannot be read.
        RecipeError: A setting is unknown, or does not go with the others.
    """
    from transformers import GenerationConfig

    network: Any = model
    config = _load(recipe.training.get("generation_config"), recipe) or _load_own(recipe)
    if config is None:
        config = network.generation_config
    for name, value in options.generation.items():
        place = recipe.where(f"task.generation.{name}")
        is_known = hasattr(GenerationConfig(), name) or hasattr(config, name) or name in OF_WHISPER
        if not is_known:
            raise RecipeError(
                f"task.generation.{name}: GenerationConfig has no such setting",
                where=place,
                todo="See GenerationConfig of transformers.",
            )
        if name == "do_sample" and value:
            raise RecipeError(
                "task.generation.do_sample: an evaluation must give the same text each time",
                where=place,
                todo="Remove it; num_beams searches without chance.",
            )
        setattr(config, name, value)
    if options.language or options.task:
        if "forced_decoder_ids" in options.generation:
            raise RecipeError(
                "task.generation.forced_decoder_ids and task.language or task.task say the same",
                where=recipe.where("task.generation.forced_decoder_ids"),
                todo="Leave one of the two out.",
            )
        _set_language(config, options, tokenizer)
    for argument, name in FROM_ARGUMENTS.items():
        if recipe.training.get(argument) is not None:
            setattr(config, name, recipe.training[argument])
            if name == "max_length":
                config.max_new_tokens = None
    if config.max_length is None and config.max_new_tokens is None:
        # without a limit transformers stops after 20 tokens
        decoder = network.config
        config.max_length = getattr(decoder, "max_target_positions", None) or decoder.max_position_embeddings
    if options.timestamps and getattr(config, "no_timestamps_token_id", None) is None:
        raise RecipeError(
            f"task.timestamps: {recipe.model.checkpoint} was not trained with timestamps",
            where=recipe.where("task.timestamps"),
            todo="Remove it.",
        )
    try:
        config.validate(strict=True)
    except ValueError as error:
        raise RecipeError(
            f"task.generation: {' '.join(str(error).split())}",
            where=recipe.where("task.generation"),
            todo="Change these settings.",
        ) from error
    # transformers 5.23 reads settings that every model has back from such a file, and forgets Whisper's own
    config._from_model_config = False
    network.generation_config = config


def _set_language(config: Any, options: SpeechRecognitionOptions, tokenizer: Any) -> None:
    """Let text begin with the tokens that transcripts begin with."""
    if hasattr(tokenizer, "set_prefix_tokens"):
        if options.language is not None:
            config.language = options.language
        config.task = options.task or "transcribe"
        config.forced_decoder_ids = None  # of older checkpoints: Whisper takes the one or the other
    elif options.language is not None:
        config.forced_bos_token_id = tokenizer.lang_code_to_id[options.language]


def _load_own(recipe: Recipe) -> Any:
    """Return the checkpoint's own settings; None where it has none."""
    from transformers import GenerationConfig

    checkpoint, revision = recipe.model.checkpoint, recipe.model.revision
    try:
        with reading_hub("model", checkpoint, revision=revision, where=recipe.where("model.checkpoint")):
            return GenerationConfig.from_pretrained(checkpoint, revision=revision)
    except (OSError, ValueError):
        return None


def _load(named: str | None, recipe: Recipe) -> Any:
    """Return the settings that `training.generation_config` names, a Hub id or a folder."""
    from transformers import GenerationConfig

    if named is None:
        return None
    where = recipe.where("training.generation_config")
    try:
        with reading_hub("model", named, where=where):
            return GenerationConfig.from_pretrained(named)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"training.generation_config: {named} cannot be read: {' '.join(str(error).split())}",
            where=where,
            todo="Name a Hub id or a folder with a generation_config.json.",
        ) from error
