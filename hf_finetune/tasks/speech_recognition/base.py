"""What both kinds of speech recognition share: sound in, transcripts as targets, text in the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hf_finetune.errors import RecipeError
from hf_finetune.metrics_modules.transcripts import count_edits
from hf_finetune.recipe import NamedSpec, SpeechRecognitionOptions
from hf_finetune.tasks.audio import BOUND_ROLES, ClipLimits, build_audio_preparation, rank_audio
from hf_finetune.tasks.audio_pictures import draw_clip, encode_clip
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.equal_lengths import forward_alike
from hf_finetune.tasks.feature_extractor import find_window, load_feature_extractor
from hf_finetune.tasks.features import label_kind
from hf_finetune.tasks.speech_recognition.inputs import SpeechTransform, collate_speech
from hf_finetune.tasks.values import Arrays, Forward, Preparation, Role, Row, Space, Transform

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from hf_finetune.recipe import Recipe

__all__ = ["SpeechTask", "rank_text"]

USUAL_NAMES = ("text", "sentence", "transcription", "transcript", "normalized_text", "raw_transcription")

PIECES = {"words": "word", "pieces": "text"}
"""What `say` calls the pieces of a text -> what it calls the text of one; CTC has words, Whisper pieces."""

LONG_S = 30.0
"""A longer file is predicted alone, by a model that takes clips of any length."""


def rank_text(name: str, feature: Any, sample: Any) -> int | None:
    """Say how likely a column holds the transcripts: by its name, then any text."""
    if label_kind(feature) != ("text", False):
        return None
    return USUAL_NAMES.index(name) if name in USUAL_NAMES else len(USUAL_NAMES)


def rank_group(name: str, feature: Any, sample: Any) -> int | None:
    """Say that no column is taken for a group unless the recipe says so."""
    return None


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
        *BOUND_ROLES,
    )

    def __init__(self, recipe: Recipe, config: Any) -> None:
        super().__init__(recipe.task)
        self.options = SpeechRecognitionOptions.model_validate(recipe.task.options)
        self.config = config
        for name in self.of_the_other:
            if name in self.options.model_fields_set:
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
        return self._prepare_up_to(self.window_seconds or self.options.max_seconds, folders)

    @property
    def window_seconds(self) -> float | None:
        """Return what the model hears at once; None for one that takes clips of any length."""
        # Whisper's 30 seconds; the rest of a longer clip would be lost without a word
        return find_window(self.extractor)

    def split_batch(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return the clips of usual lengths, and each longer one alone: it goes by windows."""
        most = (self.window_seconds or LONG_S) * self.extractor.sampling_rate
        long = [i for i, row in enumerate(rows) if len(row["audio"]) > most]
        short = [i for i in range(len(rows)) if i not in long]
        return [part for part in (short, *([i] for i in long)) if part]

    def _prepare_up_to(self, seconds: float, folders: Sequence[str]) -> Preparation:
        limits = ClipLimits(
            min_seconds=self.options.min_seconds,
            max_seconds=min(self.options.max_seconds, seconds),
            allow_silence=self.options.allow_silence,
            allow_cut_off=self.options.allow_cut_off,
        )
        return build_audio_preparation(
            folders,
            sampling_rate=self.extractor.sampling_rate,
            limits=limits,
            time_unit=self.options.time_unit,
        )

    def build_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return what turns clips into "input_values" [N] or "input_features", and their masks."""
        return SpeechTransform(self.extractor)

    def build_eval_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return the same for evaluation and `predict`, which want to know how long a clip is."""
        return SpeechTransform(self.extractor, is_evaluated=True)

    def build_forward(self) -> Forward | None:
        """Return what lets no row depend on the others of its batch."""
        return forward_alike

    def build_collate(
        self, space: Space
    ) -> Callable[[Sequence[Mapping[str, torch.Tensor]]], dict[str, torch.Tensor]]:
        """Return what pads rows to the longest of them."""
        return partial(collate_speech, padding_value=float(self.extractor.padding_value))

    def tabulate(self, reduced: Arrays, space: Space) -> tuple[dict[str, Any], np.ndarray]:
        """Return the columns label and prediction, and each row's own word error rate as how bad it is."""
        labels, said = ([str(text) for text in reduced[name]] for name in ("labels", "prediction"))
        edits = [count_edits([a], [b], "words") for a, b in zip(labels, said, strict=True)]
        badness = np.array([edit.num_errors / max(edit.num_units, 1) for edit in edits])
        return {"label": labels, "prediction": said}, badness

    def table_types(self, space: Space) -> Mapping[str, pa.DataType]:
        """Return the types of the columns of `tabulate`."""
        return {"label": pa.string(), "prediction": pa.string(), "hit_limit": pa.bool_()}

    def answer_types(self, space: Space) -> Mapping[str, pa.DataType]:
        """Return the types of what `say` answers: "words" and "pieces" are lists that may all be empty."""
        times = [("start", pa.float64()), ("end", pa.float64())]
        pieces = {name: pa.list_(pa.struct([(part, pa.string()), *times])) for name, part in PIECES.items()}
        return {"text": pa.string(), **pieces, "hit_limit": pa.bool_()}

    def say(self, row: Arrays, space: Space) -> dict[str, Any]:
        """Return the text of one file."""
        return {"text": str(row["prediction"])}

    def thumbnail(self, row: Row) -> Image.Image:
        """Draw the wave and the spectrogram of a clip."""
        return draw_clip(row["audio"], row["sampling_rate"])

    def sound(self, row: Row) -> bytes:
        """Return a clip as a small file that browsers play."""
        return encode_clip(row["audio"], row["sampling_rate"])

    def facts(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Return how long the clips are."""
        return {"seconds": np.round(lengths / self.extractor.sampling_rate, 3)}
