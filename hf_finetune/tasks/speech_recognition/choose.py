"""One task of the Hub, two ways of writing: the checkpoint says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_finetune.errors import ModelError
from hf_finetune.pretrained import load_config
from hf_finetune.recipe import SpeechRecognitionOptions
from hf_finetune.tasks.base import TASKS, Task
from hf_finetune.tasks.speech_recognition.base import SpeechTask
from hf_finetune.tasks.speech_recognition.ctc import CtcRecognition
from hf_finetune.tasks.speech_recognition.seq2seq import Seq2SeqRecognition

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["SpeechRecognition"]

KINDS: dict[str, type[SpeechTask]] = {"ctc": CtcRecognition, "seq2seq": Seq2SeqRecognition}


@TASKS.register("automatic-speech-recognition")
class SpeechRecognition(SpeechTask):
    """Sound in, text out, by CTC or by a decoder; `for_recipe` returns the one that is meant."""

    @classmethod
    def for_recipe(cls, recipe: Recipe, *, trust_remote_code: bool = False) -> Task:
        """Return the kind of task the checkpoint is of.

        Raises:
            ModelError: The checkpoint is for neither, or for the other than the recipe says.
            RecipeError: An option is for the other kind.
        """
        from transformers.models.auto import modeling_auto

        config = load_config(recipe, trust_remote_code=trust_remote_code)
        can = {
            "ctc": config.model_type in modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES,
            "seq2seq": config.model_type in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
        }
        asked: str | None = SpeechRecognitionOptions.model_validate(recipe.task.options).decoding
        found = asked or next((kind for kind, is_possible in can.items() if is_possible), None)
        if found is None or not can[found]:
            name, fitting = recipe.model.checkpoint, [kind for kind in can if can[kind]]
            raise ModelError(
                f"{name} ({config.model_type}) cannot write text" + (f" by {asked}" if asked else ""),
                where=recipe.where("task.decoding" if asked else "model.checkpoint"),
                todo=f"Write decoding: {fitting[0]}, or leave it out."
                if fitting
                else "Name a checkpoint for speech such as facebook/wav2vec2-base or openai/whisper-small.",
            )
        return KINDS[found](recipe, config)
