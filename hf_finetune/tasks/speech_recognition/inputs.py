"""Clips -> model inputs, and rows of unequal lengths -> a micro-batch.

Shapes: B rows, N samples of a clip, T frames, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from hf_finetune.problems import NUM_SAMPLES
from hf_finetune.tasks.audio_inputs import AudioTransform, pad_rows
from hf_finetune.tasks.values import Row

__all__ = ["IGNORED", "SpeechTransform", "collate_speech", "shift_right"]

IGNORED = -100


class SpeechTransform(AudioTransform):
    """What turns clips into model inputs; the model is told where a clip ends where it wants to know.

    Args:
        extractor: Of the checkpoint.
        has_mask: Whether the model wants to know; None leaves it to the extractor.
        is_evaluated: Whether "num_samples" goes along, and a clip that is longer than what the model hears at
            once is not cut.
    """

    def __init__(self, extractor: Any, *, has_mask: bool | None = None, is_evaluated: bool = False) -> None:
        # said to each call: from its own attribute Whisper's would make a mask of samples, not of frames
        self.has_mask = has_mask or getattr(extractor, "return_attention_mask", None)
        self.is_evaluated = is_evaluated
        super().__init__(extractor)
        self.key = self.key and f"{self.key}-{self.has_mask}-{is_evaluated}"

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the inputs of each row, and in evaluations the samples of its clip: "num_samples" [B]."""
        lengths = (
            {NUM_SAMPLES: torch.tensor([len(row["audio"]) for row in rows])} if self.is_evaluated else {}
        )
        return {**super().__call__(rows), **lengths}

    def extract(self, clip: np.ndarray) -> dict[str, torch.Tensor]:
        """Return "input_values" [N] or "input_features" of one clip, and "attention_mask"."""
        is_long = self.is_evaluated and self.full_length is not None and len(clip) > self.full_length
        found = self.extractor(
            clip,
            sampling_rate=self.extractor.sampling_rate,
            return_tensors="np",
            return_attention_mask=self.has_mask,
            **({"truncation": False, "padding": "longest"} if is_long else {}),
        )
        return {name: torch.from_numpy(np.asarray(value[0])) for name, value in found.items()}


def collate_speech(
    rows: Sequence[Mapping[str, torch.Tensor]], *, padding_value: float = 0.0
) -> dict[str, torch.Tensor]:
    """Pad rows at their ends to the longest: inputs as the extractor says, masks with 0, labels with -100."""
    inputs = [{name: value for name, value in row.items() if name != "labels"} for row in rows]
    batch = pad_rows(inputs, padding_value=padding_value)
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        batch["labels"] = pad_sequence(labels, batch_first=True, padding_value=IGNORED)
    return batch


def shift_right(labels: torch.Tensor, *, start: int, pad: int) -> torch.Tensor:
    """Return what a decoder reads to write these labels, [B, L]: each token's predecessor.

    Source: transformers 5.23, `shift_tokens_right` of Whisper, Moonshine and Speech2Text.
    """
    shifted = torch.cat([labels.new_full((len(labels), 1), start), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad)
