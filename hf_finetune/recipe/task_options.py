"""What a recipe may say beside a task's name, where that is known without importing the task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, field_validator
from pydantic_core import InitErrorDetails, ValidationError

from hf_finetune.recipe.places import Finding
from hf_finetune.recipe.validation import ERROR_TYPE, details_of, finding_error
from hf_finetune.recipe.wording import find_near, list_words

__all__ = [
    "TASK_OPTIONS",
    "AudioClassificationOptions",
    "ClipOptions",
    "SpeechRecognitionOptions",
    "check_options",
]

Text = Annotated[str, Field(min_length=1)]


Seconds = Annotated[StrictInt | StrictFloat, Field(gt=0)]


class NoOptions(BaseModel):
    """Options of a task that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClipOptions(BaseModel):
    """Which clips can be used; the others are bad rows, which `data.bad_rows` is about."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    min_seconds: Seconds = 0.1
    """A shorter clip is a bad row."""

    max_seconds: Seconds = 600.0
    """A longer clip is a bad row."""

    allow_silence: StrictBool = False
    """Take silent clips too, such as those of a class of their own."""

    allow_cut_off: StrictBool = False
    """Take what is there of files that end before they say they do."""

    time_unit: Literal["seconds", "samples"] = "seconds"
    """What the columns start, duration and end count: seconds, or samples at the rate of the file."""


class AudioClassificationOptions(ClipOptions):
    """Options of `task: audio-classification`."""

    window_seconds: Annotated[StrictInt | StrictFloat, Field(ge=0.1)] | None = None
    """Of a longer clip training sees a random window of this length, and evaluation the mean over windows."""

    freeze_feature_encoder: StrictBool = False
    """Keep the convolutions over the wave as they are, where the model has them."""


class SpeechRecognitionOptions(ClipOptions):
    """Options of `task: automatic-speech-recognition`."""

    decoding: Literal["ctc", "seq2seq"] | None = None
    """How the checkpoint writes: ctc, a token a frame, or seq2seq, by a decoder; found from its config."""

    case: Literal["lower", "upper", "keep"] | None = None
    """What becomes of the transcripts' letters; found from the vocabulary, lower for a new one."""

    remove: Text | None = None
    """Regular expression; what it matches in transcripts is removed, such as "[^a-z' ]"."""

    vocabulary: Literal["checkpoint", "characters", "words"] | None = None
    """For ctc: the checkpoint's tokens, or new ones of the training text; characters where there are none."""

    freeze_feature_encoder: StrictBool | None = None
    """For ctc: keep the convolutions over the wave as they are; true where the model has them."""

    target_lang: Text | None = None
    """For ctc: the language, such as deu, whose adapter and vocabulary a multilingual checkpoint uses."""

    language: Text | None = None
    """For seq2seq: the language token that transcripts begin with, such as german."""

    task: Literal["transcribe", "translate"] | None = None
    """For seq2seq: the task token that transcripts begin with; translate goes into English."""

    max_tokens_per_second: Annotated[StrictInt | StrictFloat, Field(gt=0)] | None = 20
    """For seq2seq: what may be written for a second of a clip, and 8 tokens more; null for no such limit."""

    timestamps: StrictBool = False
    """For Whisper: predict also says when each piece of the text is said, if the checkpoint learnt that."""

    generation: dict[str, Any] = Field(default_factory=dict)
    """For seq2seq: values of GenerationConfig, such as suppress_tokens or num_beams; kept in best/."""

    @field_validator("remove")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise finding_error(f"got {value!r}, which is not a regular expression: {error}") from None
        return value


TASK_OPTIONS: dict[str, type[BaseModel]] = {
    "audio-classification": AudioClassificationOptions,
    "automatic-speech-recognition": SpeechRecognitionOptions,
    "image-classification": NoOptions,
}
"""The tasks that come along: their options are checked before anything is imported.

The user's own tasks check theirs when they are made.
"""


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the options of a task, all of them at once.

    Args:
        name: Of the task.
        options: What is written beside it.

    Raises:
        ValidationError: With an error for each key that is wrong.
    """
    model = TASK_OPTIONS.get(name)
    if model is None:
        return
    known = {key: value for key, value in options.items() if key in model.model_fields}
    errors: list[InitErrorDetails] = []
    for key in options:
        if key not in known:
            near = find_near(str(key), model.model_fields)
            all_known = (
                f"Known here: {list_words(list(model.model_fields))}." if model.model_fields else "Remove it."
            )
            todo = f"Did you mean '{near}'?" if near else all_known
            errors.append(details_of(Finding((key,), f"{name} has no such option", todo, is_about_key=True)))
    try:
        model.model_validate(known)
    except ValidationError as error:
        for e in error.errors(include_url=False):
            loc, context = e["loc"], e.get("ctx", {})
            if e["type"] == ERROR_TYPE:
                errors.append(details_of(Finding(loc, **context)))
            else:
                errors.append(InitErrorDetails(type=e["type"], loc=loc, input=e["input"], ctx=context))
    if errors:
        raise ValidationError.from_exception_data(name, errors)
