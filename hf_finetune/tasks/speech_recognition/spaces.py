"""The texts that a model can write. Shapes: B rows, T frames, L tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from hf_finetune.tasks.speech_recognition.frames import count_frames
from hf_finetune.tasks.speech_recognition.inputs import IGNORED

__all__ = ["CtcSpace", "WritingSpace"]


@dataclass(frozen=True, kw_only=True)
class CtcSpace:
    """Texts spelt by a token, or a blank, for each frame.

    Args:
        tokenizer: Its padding token is the blank.
        tokens: Of the tokenizer, by number; what the space is, for comparisons.
        geometry: The checkpoint's config: how many frames it makes of a clip.
        is_new: Whether the vocabulary was made of the training text, so that the output layer is new, too.
        reduction: The loss's, where the recipe's model.config says it.
        zero_infinity: The loss's, where the recipe's model.config says it.
    """

    tokenizer: Any = field(repr=False, compare=False)
    tokens: tuple[str, ...]
    geometry: Any = field(repr=False, compare=False)
    is_new: bool
    reduction: str = "mean"
    zero_infinity: bool = False

    problem_type = "ctc"
    names: tuple[str, ...] = field(default=(), init=False, repr=False)

    @property
    def num_labels(self) -> int:
        """Tokens of the vocabulary."""
        return len(self.tokens)

    @property
    def blank(self) -> int:
        """The token that stands for nothing."""
        return int(self.tokenizer.pad_token_id)

    def describe(self) -> str:
        """Say how text is made."""
        origin = "made of the training text" if self.is_new else "the checkpoint's"
        return f"text by CTC, {len(self.tokens)} tokens ({origin})"

    def name_other_outputs(self, config: Any) -> str:
        """Say that a checkpoint's output layer spells with other tokens."""
        return "another vocabulary" if self.is_new else ""

    def configure(self, config: Any) -> None:
        """Write the size of the vocabulary and its blank into a model's config."""
        if self.is_new or self.num_labels > config.vocab_size:
            config.vocab_size = self.num_labels
        config.pad_token_id = self.blank
        if self.is_new:
            config.bos_token_id = config.eos_token_id = None

    def to_json(self) -> dict[str, Any]:
        """Return what `scores.json` keeps of it."""
        return {
            "labels": [],
            "num_labels": self.num_labels,
            "problem_type": self.problem_type,
            "is_new": self.is_new,
        }

    def count_frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """Return how many frames the model makes of inputs of these lengths, [B]."""
        return torch.as_tensor(count_frames(lengths, self.geometry))

    def spell(self, frames: np.ndarray) -> str:
        """Return the text of the best token of each frame, [T]; -100 is not looked at."""
        return str(self.tokenizer.decode(frames[frames != IGNORED].tolist())).strip()

    def read(self, labels: np.ndarray) -> str:
        """Return the text of a target, [L] padded with -100."""
        return str(self.tokenizer.decode(labels[labels != IGNORED].tolist(), group_tokens=False)).strip()


@dataclass(frozen=True, kw_only=True)
class WritingSpace:
    """Texts written token by token by a decoder.

    Args:
        tokenizer: Of the checkpoint.
        num_labels: Outputs of the decoder.
        start: The token that the decoder reads first.
        pad: The token that pads what it reads.
    """

    tokenizer: Any = field(repr=False, compare=False)
    num_labels: int
    start: int
    pad: int

    problem_type = "seq2seq"
    names: tuple[str, ...] = field(default=(), init=False, repr=False)

    def describe(self) -> str:
        """Say how text is made."""
        return f"text by a decoder, {self.num_labels} tokens"

    def name_other_outputs(self, config: Any) -> str:
        """Say that the checkpoint's output layer is the right one."""
        return ""

    def configure(self, config: Any) -> None:
        """Leave a model's config as it is: the vocabulary is the checkpoint's."""

    def to_json(self) -> dict[str, Any]:
        """Return what `scores.json` keeps of it."""
        return {"labels": [], "num_labels": self.num_labels, "problem_type": self.problem_type}

    def read(self, tokens: np.ndarray) -> str:
        """Return the text of tokens, [L] padded with -100, without language, task and end tokens."""
        kept = tokens[tokens != IGNORED].tolist()
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()

    def read_timed(self, tokens: np.ndarray) -> str:
        """Return the text of Whisper's tokens with times among them, [L].

        What is between two times is a piece; a model that was fine-tuned on transcripts begins none of them
        with the space that would keep it from the one before.
        """
        timed = self.tokenizer.decode(tokens.tolist(), skip_special_tokens=True, decode_with_timestamps=True)
        pieces = [piece for piece in re.split(r"<\|\d+\.\d\d\|>", timed) if piece.strip()]
        has_spaces = any(" " in piece for piece in pieces)  # some scripts have none
        return (" " if has_spaces else "").join(piece.strip() for piece in pieces)
