"""Classify sounds: one class each, several, or numbers (regression)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from hf_finetune.recipe import AudioClassificationOptions, NamedSpec
from hf_finetune.tasks.audio import BOUND_ROLES, ClipLimits, build_audio_preparation, rank_audio
from hf_finetune.tasks.audio_inputs import AudioTransform, WindowTransform, forward_windows, pad_rows
from hf_finetune.tasks.audio_pictures import draw_clip, encode_clip
from hf_finetune.tasks.base import TASKS
from hf_finetune.tasks.classification import ClassificationTask, rank_label
from hf_finetune.tasks.feature_encoder import freeze_feature_encoder
from hf_finetune.tasks.feature_extractor import find_window, load_feature_extractor
from hf_finetune.tasks.values import Forward, Preparation, Role, Row, Space, Transform

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

    from hf_finetune.recipe import Recipe, TaskSpec

__all__ = ["AudioClassification"]

WINDOW_S = 20.0
"""What a model that takes clips of any length sees of a long one at once."""


@TASKS.register("audio-classification")
class AudioClassification(ClassificationTask):
    """Sounds in, classes or numbers out: wav2vec2, HuBERT, WavLM, data2vec-audio, AST, Whisper's encoder ...

    A decoded row is `{"audio": float32 [N], "sampling_rate": int}`; the checkpoint's own feature extractor
    says what becomes of it, and its head how frames are pooled. Training sees a random part of a clip that is
    longer than a window; evaluation sees all of it, window by window, and takes the mean of the logits.
    """

    name = "audio-classification"
    modality = "audio"
    auto_model = "AutoModelForAudioClassification"
    roles = (
        Role(name="audio", what="the sound", rank=rank_audio),
        Role(name="label", what="the label", rank=rank_label),
        *BOUND_ROLES,
    )

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.options = AudioClassificationOptions.model_validate(spec.options)
        self.padding_value = 0.0

    def load_processor(self, recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
        """Load the checkpoint's feature extractor at its revision."""
        extractor = load_feature_extractor(recipe, trust_remote_code=trust_remote_code)
        self.padding_value = float(extractor.padding_value)
        return extractor

    def build_preparation(self, feature: Any, folders: Sequence[str], *, processor: Any) -> Preparation:
        """Decode and check every clip once; keep those that take little room."""
        limits = ClipLimits(
            min_seconds=self.options.min_seconds,
            max_seconds=self.options.max_seconds,
            allow_silence=self.options.allow_silence,
            allow_cut_off=self.options.allow_cut_off,
        )
        return build_audio_preparation(
            folders,
            sampling_rate=processor.sampling_rate,
            limits=limits,
            time_unit=self.options.time_unit,
        )

    def window_seconds(self, processor: Any) -> float:
        """Return how much of a clip the model sees at once."""
        return self.options.window_seconds or find_window(processor) or WINDOW_S

    def always_augment(self, processor: Any, longest: int) -> Sequence[NamedSpec]:
        """Let training see a random window of clips that are longer."""
        seconds = self.window_seconds(processor)
        if longest <= round(seconds * processor.sampling_rate):
            return ()
        return (NamedSpec(name="random_clip", options={"seconds": seconds}),)

    def adapt_model(self, model: nn.Module, recipe: Recipe, *, from_scratch: bool) -> None:
        """Freeze the convolutions over the wave where the recipe says so."""
        is_wanted = self.options.freeze_feature_encoder
        freeze_feature_encoder(model, recipe, is_wanted=is_wanted, from_scratch=from_scratch)

    def build_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return what turns clips into "input_values" or "input_features", and masks."""
        return AudioTransform(processor)

    def build_eval_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return the same for evaluation, window by window."""
        return WindowTransform(processor, self.window_seconds(processor))

    def build_collate(
        self, space: Space
    ) -> Callable[[Sequence[Mapping[str, torch.Tensor]]], dict[str, torch.Tensor]]:
        """Return what pads rows to the longest of them."""
        return partial(pad_rows, padding_value=self.padding_value)

    def build_forward(self) -> Forward:
        """Return what takes the mean over the windows of a clip."""
        return forward_windows

    def thumbnail(self, row: Row) -> Image.Image:
        """Draw the wave and the spectrogram of a clip as it was before augmentation."""
        return draw_clip(row["audio"], row["sampling_rate"])

    def sound(self, row: Row) -> bytes:
        """Return a clip as a small file that browsers play."""
        return encode_clip(row["audio"], row["sampling_rate"])
