"""Text spelt frame by frame: wav2vec2, HuBERT, WavLM, data2vec-audio, wav2vec2-BERT, MMS."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hf_finetune.errors import DataError, ModelError
from hf_finetune.hub_access import reading_hub
from hf_finetune.pretrained import reading_checkpoint
from hf_finetune.tasks.equal_lengths import count_inputs, forward_alike
from hf_finetune.tasks.feature_encoder import freeze_feature_encoder
from hf_finetune.tasks.matching import Unknown
from hf_finetune.tasks.speech_recognition.base import SpeechTask
from hf_finetune.tasks.speech_recognition.frames import count_frames
from hf_finetune.tasks.speech_recognition.inputs import IGNORED
from hf_finetune.tasks.speech_recognition.long_waves import forward_long_waves
from hf_finetune.tasks.speech_recognition.spaces import CtcSpace
from hf_finetune.tasks.speech_recognition.transcripts import (
    TextTargets,
    build_cleaner,
    find_case,
    read_transcripts,
)
from hf_finetune.tasks.speech_recognition.vocabulary import build_tokenizer, split_units
from hf_finetune.tasks.values import Arrays, Decode, Forward, Matched, Targets

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_finetune.recipe import Recipe

__all__ = ["CtcRecognition"]

logger = logging.getLogger(__name__)


class CtcRecognition(SpeechTask):
    """Speech recognition by CTC."""

    auto_model = "AutoModelForCTC"
    of_the_other = ("language", "task", "generation", "timestamps", "max_tokens_per_second")

    def load_processor(self, recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
        """Load the feature extractor, and the tokenizer where there is one; return the extractor."""
        super().load_processor(recipe, trust_remote_code=trust_remote_code)
        self.loss_options = {
            name.removeprefix("ctc_loss_").removeprefix("ctc_"): recipe.model.config[name]
            for name in ("ctc_loss_reduction", "ctc_zero_infinity")
            if name in recipe.model.config
        }
        self.tokenizer = self._load_tokenizer(recipe, trust_remote_code)
        return self.extractor

    def _load_tokenizer(self, recipe: Recipe, trust_remote_code: bool) -> Any:
        from transformers import AutoTokenizer

        checkpoint, lang = recipe.model.checkpoint, self.options.target_lang
        where = recipe.where("task.target_lang" if lang else "task.vocabulary")
        try:
            with reading_hub("model", checkpoint, revision=recipe.model.revision, where=where):
                return AutoTokenizer.from_pretrained(
                    checkpoint,
                    revision=recipe.model.revision,
                    trust_remote_code=trust_remote_code,
                    **({"target_lang": lang} if lang else {}),
                )
        except (OSError, ValueError, KeyError, TypeError) as error:
            if lang or self.options.vocabulary == "checkpoint":
                what = f"no vocabulary for {lang!r}" if lang else "no tokenizer"
                raise ModelError(
                    f"{checkpoint} has {what}: {' '.join(str(error).split())}",
                    where=where,
                    todo="Write characters for task.vocabulary, to make one of the training text.",
                ) from error
            return None

    def build_targets(
        self,
        columns: Mapping[str, pa.ChunkedArray],
        feature: Any,
        *,
        processor: Any,
        where: Callable[[str], str],
    ) -> tuple[CtcSpace, Mapping[str, Targets]]:
        """Turn transcripts into tokens, the checkpoint's or those of the training text."""
        unit = self.options.vocabulary or ("checkpoint" if self.tokenizer is not None else "characters")
        is_new = unit != "checkpoint"
        if is_new and self.options.target_lang:
            raise ModelError(
                "task.target_lang takes the checkpoint's vocabulary of that language",
                where=where("task.vocabulary"),
                todo="Leave one of the two out.",
            )
        clean = self._build_cleaner(is_new=is_new)
        texts = read_transcripts(columns, clean, where=where("data.columns.text"))
        if is_new:
            self.tokenizer = build_tokenizer(next(iter(texts.values()))(), unit=unit)
        space = self._build_space(is_new=is_new)
        return space, self._encode(texts, space, where("task.vocabulary"))

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
        """Turn transcripts into the tokens of the model's own vocabulary, also where training made that."""
        clean = self._build_cleaner(is_new=space.is_new)
        texts = read_transcripts({split: column}, clean, where=where("data.columns.text"))
        return Matched(targets=self._encode(texts, space, where("task.vocabulary"))[split])

    def _build_cleaner(self, *, is_new: bool) -> Callable[[str], str]:
        case = self.options.case or ("lower" if is_new else find_case(self.tokenizer.get_vocab()))
        return build_cleaner(case, self.options.remove)

    def _encode(
        self, texts: Mapping[str, Callable[[], Iterable[list[str]]]], space: CtcSpace, place: str
    ) -> dict[str, TextTargets]:
        """Return the tokens of cleaned transcripts, and warn of what the vocabulary does not have."""
        unit, tokenizer = self.options.vocabulary or "characters", self.tokenizer

        def encode(text: str) -> list[int]:
            if space.is_new:
                return list(tokenizer.convert_tokens_to_ids(split_units(text, unit)))
            return list(tokenizer(text).input_ids)

        targets = {split: TextTargets.encode(read(), encode) for split, read in texts.items()}
        for split, read in texts.items():
            self._tell_unknown(split, targets[split], read(), place)
        return targets

    def _tell_unknown(self, split: str, targets: TextTargets, texts: Any, place: str) -> None:
        """Warn of characters that the vocabulary does not have; stop where they are most of the text."""
        unknown = self.tokenizer.unk_token_id
        num_unknown = int((targets.tokens == unknown).sum()) if unknown is not None else 0
        if not num_unknown:
            return
        known = {token for token in self.tokenizer.get_vocab() if len(token) == 1}
        missing = Counter(c for chunk in texts for text in chunk for c in text if c not in known and c != " ")
        shown = ", ".join(f"{c!r} ({n})" for c, n in missing.most_common(8))
        what = f"{split}: {num_unknown} of {len(targets.tokens)} tokens are not in the vocabulary: {shown}"
        if num_unknown > len(targets.tokens) / 2:
            todo = "Set task.case or task.remove, or write task: {vocabulary: characters}."
            raise DataError(what, where=place, todo=todo)
        logger.warning(what)

    def _build_space(self, *, is_new: bool) -> CtcSpace:
        vocabulary = self.tokenizer.get_vocab()
        return CtcSpace(
            tokenizer=self.tokenizer,
            tokens=tuple(sorted(vocabulary, key=vocabulary.get)),
            geometry=self.config,
            is_new=is_new,
            **self.loss_options,
        )

    def read_space(self, kept: Mapping[str, Any], processor: Any) -> CtcSpace:
        """Return the vocabulary saved with the model; for a new one, adapters bring the output layer."""
        return self._build_space(is_new=kept.get("is_new", False))

    def complete_processor(self, processor: Any, space: Any) -> Any:
        """Put the feature extractor and the vocabulary together, as the class of this kind of model."""
        import transformers
        from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

        name = PROCESSOR_MAPPING_NAMES.get(self.config.model_type) or "Wav2Vec2Processor"
        return getattr(transformers, name)(self.extractor, space.tokenizer)

    def judge(self, lengths: Any, targets: Any, space: Any) -> list[tuple[int, str]]:
        """List the rows whose transcript has more tokens than the clip has frames: no CTC path spells it."""
        frames = count_frames(self._count_inputs(lengths), self.config)
        problems = []
        for row in np.flatnonzero(2 * targets.lengths > frames):  # only these can have too many
            tokens = targets.row(row)
            # between two equal tokens there must be a blank
            needed = len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
            if needed > frames[row] and lengths[row]:
                seconds = lengths[row] / self.extractor.sampling_rate
                what = f"the transcript needs {needed} frames, and the clip of {seconds:.2f} s has "
                problems.append((int(row), f"{what}{max(int(frames[row]), 0)}"))
        return problems

    def _count_inputs(self, lengths: np.ndarray) -> np.ndarray:
        """Return the lengths of the model's inputs for clips of so many samples."""
        if self.extractor.model_input_names[0] == "input_values":
            return lengths
        # 25 ms windows every 10 ms, `stride` of them side by side
        rate = self.extractor.sampling_rate
        windows: np.ndarray = (lengths - rate // 40) // (rate // 100) + 1
        return windows // getattr(self.extractor, "stride", 1)

    def adapt_model(self, model: nn.Module, recipe: Recipe, *, from_scratch: bool) -> None:
        """Take the language's adapter; freeze what the recipe leaves as it is."""
        network: Any = model
        lang = self.options.target_lang
        if lang and not from_scratch:
            with reading_checkpoint(recipe):
                network.load_adapter(lang, revision=recipe.model.revision, use_safetensors=True)
        if lang:
            # private in transformers 5.23, and what its `load_adapter` goes by; the test of MMS notices
            trained = {id(parameter) for parameter in network._get_adapters().values()}
            for parameter in network.parameters():
                parameter.requires_grad_(id(parameter) in trained)
        is_wanted = self.options.freeze_feature_encoder
        freeze_feature_encoder(model, recipe, is_wanted=is_wanted, from_scratch=from_scratch)

    def build_predict_forward(self) -> Forward | None:
        """Let models of waves hear a long file window by window."""
        is_wave = self.extractor.model_input_names[0] == "input_values"
        if not is_wave or getattr(self.config, "add_adapter", False):
            return super().build_predict_forward()
        whole = partial(forward_long_waves, sampling_rate=self.extractor.sampling_rate)
        return partial(forward_alike, forward=whole)

    def build_reduce(self, space: Any) -> Callable[[nn.Module, Any, Any], dict[str, torch.Tensor]]:
        """Return what takes the best token of each frame: "prediction" [B, T], -100 past a clip's end."""

        def reduce(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
            best = outputs.logits.argmax(-1)
            lengths = count_inputs(inputs)
            if lengths is not None:
                frames = space.count_frames(lengths)
                is_past = torch.arange(best.shape[1], device=best.device) >= frames[:, None]
                best = best.masked_fill(is_past, IGNORED)
            return {"prediction": best}

        return reduce

    def build_decode(self, space: Any) -> Decode:
        """Return what spells the best tokens; these stay as "frames"."""

        def decode(reduced: Arrays) -> dict[str, np.ndarray]:
            frames = reduced["prediction"]
            texts = {"prediction": np.array([space.spell(row) for row in frames], object), "frames": frames}
            if "labels" in reduced:
                texts["labels"] = np.array([space.read(row) for row in reduced["labels"]], object)
            return texts

        return decode

    def say(self, row: Arrays, space: Any) -> dict[str, Any]:
        """Return the text of one file, and when each word is said, in seconds."""
        frames = row["frames"][row["frames"] != IGNORED].tolist()
        seconds = self.config.inputs_to_logits_ratio / self.extractor.sampling_rate
        words = space.tokenizer.decode(frames, output_word_offsets=True).word_offsets if frames else []
        return super().say(row, space) | {
            "words": [
                {
                    "word": word["word"],
                    "start": round(word["start_offset"] * seconds, 3),
                    "end": round(word["end_offset"] * seconds, 3),
                }
                for word in words
            ]
        }
