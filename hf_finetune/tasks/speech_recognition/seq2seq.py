"""Text written token by token by a decoder: Whisper, Moonshine, Speech2Text."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hf_finetune.errors import ModelError, RecipeError
from hf_finetune.hub_access import reading_hub
from hf_finetune.recipe import NamedSpec
from hf_finetune.tasks.matching import Unknown
from hf_finetune.tasks.speech_recognition.base import SpeechTask
from hf_finetune.tasks.speech_recognition.generation import set_generation
from hf_finetune.tasks.speech_recognition.inputs import SpeechTransform, shift_right
from hf_finetune.tasks.speech_recognition.spaces import WritingSpace
from hf_finetune.tasks.speech_recognition.transcripts import TextTargets, build_cleaner, read_transcripts
from hf_finetune.tasks.speech_recognition.writing import MARGIN, count_allowed, write
from hf_finetune.tasks.values import (
    Arrays,
    Decode,
    Forward,
    Matched,
    Preparation,
    Row,
    Space,
    Targets,
    Transform,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_finetune.recipe import Recipe

__all__ = ["Seq2SeqRecognition"]

logger = logging.getLogger(__name__)

NO_TIMESTAMPS = "<|notimestamps|>"
"""The last of Whisper's tokens that are no times."""


class Seq2SeqRecognition(SpeechTask):
    """Speech recognition by a decoder, which writes on its own in evaluations unless the recipe says not to.

    `training.predict_with_generate` is true by default here: word error rates are of text that was written
    without looking at the transcript. With false only the loss is measured.
    """

    auto_model = "AutoModelForSpeechSeq2Seq"
    arguments = "Seq2SeqTrainingArguments"
    reads_outputs = False
    of_the_other = ("vocabulary", "freeze_feature_encoder", "target_lang")

    def __init__(self, recipe: Recipe, config: Any) -> None:
        super().__init__(recipe, config)
        self.where = recipe.where
        if self.options.timestamps and config.model_type != "whisper":
            raise RecipeError(
                f"task.timestamps: {config.model_type} has none",
                where=recipe.where("task.timestamps"),
                todo="Remove it.",
            )
        self.is_writing = bool(recipe.training.get("predict_with_generate", True))
        if not self.is_writing and recipe.metrics:
            raise RecipeError(
                "metrics measure the text that is written, and training.predict_with_generate is false",
                where=recipe.where("metrics"),
                todo="Write predict_with_generate: true, or remove the metrics.",
            )

    def default_metrics(self, space: Space) -> list[NamedSpec]:
        """Return word and character error rate; none where nothing is written."""
        return super().default_metrics(space) if self.is_writing else []

    def training_defaults(self) -> dict[str, Any]:
        """Let evaluations write text."""
        return {"predict_with_generate": True}

    def load_processor(self, recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
        """Load the checkpoint's feature extractor and tokenizer, and set the language and task tokens."""
        from transformers import AutoProcessor

        super().load_processor(recipe, trust_remote_code=trust_remote_code)
        checkpoint, revision = recipe.model.checkpoint, recipe.model.revision
        where = recipe.where("model.checkpoint")
        try:
            with reading_hub("model", checkpoint, revision=revision, where=where):
                processor = AutoProcessor.from_pretrained(
                    checkpoint, revision=revision, trust_remote_code=trust_remote_code
                )
        except (OSError, ValueError, TypeError, ImportError) as error:
            raise ModelError(
                f"{checkpoint} has no processor: {' '.join(str(error).split())}",
                where=where,
                todo="Name a checkpoint with a feature extractor and a tokenizer.",
            ) from error
        self.tokenizer = processor.tokenizer
        self._set_prefix(recipe)
        return processor

    def _set_prefix(self, recipe: Recipe) -> None:
        """Let transcripts begin with the tokens of their language and task."""
        language, task = self.options.language, self.options.task
        try:
            if language is not None or task is not None:
                if hasattr(self.tokenizer, "set_prefix_tokens"):
                    self.tokenizer.set_prefix_tokens(language=language, task=task)
                    _ = self.tokenizer.prefix_tokens  # only now a wrong language is noticed
                elif getattr(self.tokenizer, "lang_code_to_id", None) and task is None:
                    self.tokenizer.tgt_lang = language
                else:
                    raise ValueError("its tokenizer knows no such tokens")
        except (ValueError, KeyError) as error:
            key = "language" if language is not None else "task"
            raise RecipeError(
                f"task.{key}: {recipe.model.checkpoint} cannot begin transcripts with it: {error}",
                where=recipe.where(f"task.{key}"),
                todo="Use a language of the checkpoint, or leave it out.",
            ) from error

    def build_targets(
        self,
        columns: Mapping[str, pa.ChunkedArray],
        feature: Any,
        *,
        processor: Any,
        where: Callable[[str], str],
    ) -> tuple[WritingSpace, Mapping[str, Targets]]:
        """Turn transcripts into what the decoder is to write: prefix tokens but the first, text, end."""
        space = self.read_space({}, processor)
        return space, self._encode(columns, space, where)

    def match_targets(
        self,
        column: pa.ChunkedArray,
        feature: Any,
        space: Any,
        *,
        split: str,
        unknown: Unknown,
        processor: Any,
        where: Callable[[str], str],
    ) -> Matched:
        """Turn transcripts into tokens: the vocabulary is the checkpoint's, whatever the data."""
        return Matched(targets=self._encode({split: column}, space, where)[split])

    def _encode(
        self, columns: Mapping[str, pa.ChunkedArray], space: WritingSpace, where: Callable[[str], str]
    ) -> dict[str, TextTargets]:
        clean = build_cleaner(self.options.case, self.options.remove)
        texts = read_transcripts(columns, clean, where=where("data.columns.text"))
        end = self.tokenizer.eos_token_id

        def encode(text: str) -> list[int]:
            tokens = list(self.tokenizer(text).input_ids)
            tokens = tokens[1:] if tokens[:1] == [space.start] else tokens  # the decoder is given it
            return tokens if tokens[-1:] == [end] or end is None else [*tokens, end]

        return {split: TextTargets.encode(read(), encode) for split, read in texts.items()}

    def read_space(self, kept: Mapping[str, Any], processor: Any) -> WritingSpace:
        """Return what the checkpoint's decoder can write."""
        config = self.config
        pad = config.pad_token_id if config.pad_token_id is not None else self.tokenizer.pad_token_id
        return WritingSpace(
            tokenizer=self.tokenizer,
            num_labels=config.vocab_size,
            start=config.decoder_start_token_id,
            pad=pad if pad is not None else config.eos_token_id,
        )

    def judge(self, lengths: Any, targets: Any, space: Space) -> list[tuple[int, str]]:
        """List the rows whose transcript has more tokens than the decoder writes."""
        most = getattr(self.config, "max_target_positions", None) or self.config.max_position_embeddings
        self._judge_limit(lengths, targets)
        return [
            (int(row), f"the transcript has {targets.lengths[row]} tokens, and the decoder writes {most}")
            for row in np.flatnonzero(targets.lengths > most)
        ]

    def _judge_limit(self, lengths: Any, targets: Any) -> None:
        """Warn where transcripts are longer than what may be written of their clips; stop where many are.

        Raises:
            RecipeError: More than one in twenty is.
        """
        per_second = self.options.max_tokens_per_second
        if per_second is None or not self.is_writing:
            return
        seconds = lengths / self.extractor.sampling_rate
        long = np.flatnonzero((targets.lengths > np.ceil(count_allowed(seconds, per_second))) & (lengths > 0))
        if not len(long):
            return
        needed = int(np.ceil(np.max((targets.lengths[long] - MARGIN) / seconds[long])))
        row, place = int(long[0]), self.where("task.max_tokens_per_second")
        what = (
            f"{len(long)} of {len(lengths)} transcripts are longer than what max_tokens_per_second: "
            f"{per_second:g} lets be written, as row {row}: {targets.lengths[row]} in {seconds[row]:.2f} s"
        )
        if len(long) > len(lengths) / 20:
            raise RecipeError(
                what, where=place, todo=f"Write task: {{max_tokens_per_second: {needed}}}, or null."
            )
        logger.warning("%s; max_tokens_per_second: %d lets all of them", what, needed)

    def adapt_model(self, model: nn.Module, recipe: Recipe, *, from_scratch: bool) -> None:
        """Give the model its settings for writing; they are saved with it: `pipeline` writes alike."""
        set_generation(model, recipe, self.options, self.tokenizer)

    def build_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return what turns clips into features; SpecAugment must know where a clip ends."""
        return self._build_transform(is_evaluated=False)

    def build_eval_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return the same for evaluation and `predict`: a long clip is heard window by window."""
        return self._build_transform(is_evaluated=True)

    def _build_transform(self, *, is_evaluated: bool) -> Transform:
        has_mask = self.config.model_type == "whisper" and self.config.apply_spec_augment
        return SpeechTransform(self.extractor, has_mask=has_mask or None, is_evaluated=is_evaluated)

    def build_predict_preparation(
        self, feature: Any, folders: Sequence[str], *, processor: Any
    ) -> Preparation:
        """Take longer clips than the model hears at once, where it can say at which second a window ends."""
        no_timestamps = self.tokenizer.get_vocab().get(NO_TIMESTAMPS)
        if no_timestamps is not None and self.config.vocab_size > no_timestamps + 1:
            return self._prepare_up_to(self.options.max_seconds, folders)
        return super().build_predict_preparation(feature, folders, processor=processor)

    def build_collate(
        self, space: Any
    ) -> Callable[[Sequence[Mapping[str, torch.Tensor]]], dict[str, torch.Tensor]]:
        """Return what pads rows, and adds what the decoder reads: "decoder_input_ids" [B, L]."""
        pad = super().build_collate(space)

        def collate(rows: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            batch = pad(rows)
            if "labels" in batch:
                batch["decoder_input_ids"] = shift_right(batch["labels"], start=space.start, pad=space.pad)
            return batch

        return collate

    def build_reduce(self, space: Any) -> Callable[[nn.Module, Any, Any], dict[str, torch.Tensor]]:
        """Return what lets the model write: "prediction" int64 [B, L], padded, and "hit_limit" bool [B]."""
        return self._write if self.is_writing else lambda model, inputs, outputs: {}

    def build_predict_forward(self) -> Forward | None:
        """Return nothing: a file has no transcript to be read, and what is written is written by `reduce`."""
        return None

    def build_predict_reduce(self, space: Any) -> Callable[[nn.Module, Any, Any], dict[str, torch.Tensor]]:
        """Return what lets the model write, and say when, where the recipe wants that or a clip is long.

        Source: transformers' `WhisperForConditionalGeneration.generate` goes through a long clip by itself,
        from the time where one window's last words ended to the next.
        """
        most = getattr(self.extractor, "nb_max_frames", None)

        def reduce(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
            is_long = most is not None and inputs["input_features"].shape[-1] > most
            settings: dict[str, Any] = (
                {"return_timestamps": True} if is_long or self.options.timestamps else {}
            )
            if is_long:
                settings["generation_config"] = self._with_times(model)
            return self._write(model, inputs, outputs, **settings)

        return reduce

    def _write(self, model: Any, inputs: Any, outputs: Any, **settings: Any) -> dict[str, torch.Tensor]:
        return write(
            model,
            inputs,
            rate=self.extractor.sampling_rate,
            per_second=self.options.max_tokens_per_second,
            longest=self.window_seconds,
            **settings,
        )

    def _with_times(self, model: Any) -> Any:
        """Return a model's settings for writing with the token that older checkpoints do not name in them."""
        config = copy.deepcopy(model.generation_config)
        config.no_timestamps_token_id = self.tokenizer.get_vocab()[NO_TIMESTAMPS]
        return config

    def build_decode(self, space: Any) -> Decode:
        """Return what turns tokens into text, those written and those of the transcript."""

        def decode(reduced: Arrays) -> dict[str, np.ndarray]:
            named = [name for name in ("prediction", "labels") if name in reduced]
            texts = {name: np.array([space.read(row) for row in reduced[name]], object) for name in named}
            if "prediction" not in reduced:
                return texts
            return {**texts, "tokens": reduced["prediction"], "hit_limit": reduced["hit_limit"]}

        return decode

    def tabulate(self, reduced: Arrays, space: Space) -> tuple[dict[str, Any], np.ndarray]:
        """Return the columns label and prediction; only the label where nothing is written."""
        if "prediction" in reduced:
            columns, badness = super().tabulate(reduced, space)
            return {**columns, "hit_limit": [bool(hit) for hit in reduced["hit_limit"]]}, badness
        labels = [str(text) for text in reduced["labels"]]
        return {"label": labels}, np.zeros(len(labels))

    def say(self, row: Arrays, space: Any) -> dict[str, Any]:
        """Return the text of one file, and where the recipe wants it when each piece is said, in seconds."""
        no_timestamps = self.tokenizer.get_vocab().get(NO_TIMESTAMPS)
        limit = {"hit_limit": bool(row["hit_limit"])}
        if no_timestamps is None or not (row["tokens"] > no_timestamps).any():
            return super().say(row, space) | limit | ({"pieces": []} if self.options.timestamps else {})
        tokens = row["tokens"].tolist()
        text = {"text": space.read_timed(row["tokens"]), **limit}
        if not self.options.timestamps:
            return text
        found = self.tokenizer.decode(tokens, output_offsets=True, skip_special_tokens=True)
        pieces = [
            {"text": piece["text"].strip(), "start": piece["timestamp"][0], "end": piece["timestamp"][1]}
            for piece in found["offsets"]
        ]
        return {**text, "pieces": pieces}
