"""What both kinds of speech recognition share: sound in, transcripts as targets, text in the tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from hf_finetune.errors import RecipeError
from hf_finetune.metrics_modules.transcripts import count_edits
from hf_finetune.recipe import NamedSpec, SpeechRecognitionOptions
from hf_finetune.tasks.audio import build_audio_preparation, load_feature_extractor, rank_audio
from hf_finetune.tasks.base import Arrays, Preparation, Role, Row, Space, Task, Transform
from hf_finetune.tasks.features import label_kind
from hf_finetune.tasks.speech_recognition.inputs import SpeechTransform, collate_speech

if TYPE_CHECKING:
    import torch

    from hf_finetune.recipe import Recipe

__all__ = ["SpeechTask", "rank_text"]

USUAL_NAMES = ("text", "sentence", "transcription", "transcript", "normalized_text", "raw_transcription")


def rank_text(name: str, feature: Any, sample: Any) -> int | None:
    """Say how likely a column holds the transcripts: by its name, then any text."""
    if label_kind(feature) != ("text", False):
        return None
    return USUAL_NAMES.index(name) if name in USUAL_NAMES else len(USUAL_NAMES)


def rank_group(name: str, feature: Any, sample: Any) -> int | None:
    """Say that no column is taken for a group unless the recipe says so."""
    return None


def draw_wave(clip: np.ndarray, width: int = 224, height: int = 112) -> Image.Image:
    edges = np.linspace(0, len(clip), width + 1).astype(int)
    picture = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(picture)
    peak = float(np.abs(clip).max()) or 1.0
    for x, (a, b) in enumerate(itertools.pairwise(edges)):
        part = clip[a : max(b, a + 1)] / peak
        draw.line([(x, (1 - part.max()) * height / 2), (x, (1 - part.min()) * height / 2)], fill=90)
    return picture


class SpeechTask(Task):
    """Speech in, text out.

    Args:
        recipe: Reads `task` and `model`.
        config: Of the checkpoint, with the recipe's changes.

    Attributes:
        of_the_other: Options that are for the other kind.
    """

    name = "automatic-speech-recognition"
    modality = "audio"
    auto_model = "AutoModelForCTC"
    of_the_other: ClassVar[tuple[str, ...]] = ()
    roles = (
        Role(name="audio", what="the sound", rank=rank_audio),
        Role(name="text", what="the transcript", rank=rank_text),
        Role(
            name="group",
            what="what the report scores apart, such as the speaker",
            rank=rank_group,
            is_optional=True,
        ),
    )

    def __init__(self, recipe: Recipe, config: Any) -> None:
        super().__init__(recipe.task)
        self.options = SpeechRecognitionOptions.model_validate(recipe.task.options)
        self.config, self.where = config, recipe.where
        for name in self.of_the_other:
            if getattr(self.options, name) not in (None, {}):
                raise RecipeError(
                    f"task.{name} means nothing for {config.model_type}, which is not trained that way",
                    where=recipe.where(f"task.{name}"),
                    todo="Remove it.",
                )

    def default_metrics(self, space: Space) -> list[NamedSpec]:
        """Return word and character error rate."""
        return [NamedSpec(name="wer"), NamedSpec(name="cer")]

    def load_processor(self, recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
        """Load the checkpoint's feature extractor and tokenizer at its revision, as one processor."""
        self.extractor = load_feature_extractor(recipe, trust_remote_code=trust_remote_code)
        return self.extractor

    def build_preparation(self, feature: Any, folders: Sequence[str], *, processor: Any) -> Preparation:
        """Decode every clip once, at the sampling rate of the model."""
        return build_audio_preparation(folders, sampling_rate=self.extractor.sampling_rate)

    def build_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return what turns clips into "input_values" [N] or "input_features", and their masks."""
        return SpeechTransform(self.extractor)

    def build_collate(
        self, space: Space
    ) -> Callable[[Sequence[Mapping[str, torch.Tensor]]], dict[str, torch.Tensor]]:
        """Return what pads rows to the longest of them."""
        return collate_speech

    def tabulate(self, reduced: Arrays, space: Space) -> tuple[dict[str, Any], np.ndarray]:
        """Return the columns label and prediction, and each row's own word error rate as how bad it is."""
        labels, said = ([str(text) for text in reduced[name]] for name in ("labels", "prediction"))
        edits = [count_edits([a], [b], "words") for a, b in zip(labels, said, strict=True)]
        badness = np.array([edit.num_errors / max(edit.num_units, 1) for edit in edits])
        return {"label": labels, "prediction": said}, badness

    def say(self, row: Arrays, space: Space) -> dict[str, Any]:
        """Return the text of one file."""
        return {"text": str(row["prediction"])}

    def thumbnail(self, row: Row) -> Image.Image:
        """Draw the wave of a clip."""
        return draw_wave(row["audio"])
