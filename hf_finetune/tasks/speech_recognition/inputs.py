"""Clips -> model inputs, and rows of unequal lengths -> a micro-batch.

Shapes: B rows, N samples of a clip, T frames, F features of a frame, L tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from hf_finetune.tasks.base import Row

__all__ = ["IGNORED", "SpeechTransform", "collate_speech", "shift_right"]

IGNORED = -100


class SpeechTransform:
    """What turns clips into model inputs, with the checkpoint's own feature extractor.

    Rows are not padded to each other here, so that a row does not depend on those beside it. An extractor
    whose inputs always have one length (Whisper's 30 seconds) pads to that.

    Args:
        extractor: Of the checkpoint.
        has_mask: Whether the model is told where a clip ends; None leaves it to the extractor.
    """

    def __init__(self, extractor: Any, *, has_mask: bool | None = None) -> None:
        self.extractor = extractor
        # said to each call: from its own attribute Whisper's would make a mask of samples, not of frames
        self.has_mask = has_mask or getattr(extractor, "return_attention_mask", None)

    def __call__(self, rows: Sequence[Row]) -> dict[str, list[torch.Tensor]]:
        """Return "input_values" [N] or "input_features" [T, F] or [F, T], and their "attention_mask"."""
        made = [self._extract(row["audio"]) for row in rows]
        return {name: [one[name] for one in made] for name in made[0]}

    def _extract(self, clip: np.ndarray) -> dict[str, torch.Tensor]:
        found = self.extractor(
            clip,
            sampling_rate=self.extractor.sampling_rate,
            return_tensors="np",
            return_attention_mask=self.has_mask,
        )
        return {name: torch.from_numpy(np.asarray(value[0])) for name, value in found.items()}


def collate_speech(rows: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Pad rows at their ends to the longest: inputs and masks with 0, labels with -100."""
    return {
        name: pad_sequence(
            [row[name] for row in rows], batch_first=True, padding_value=IGNORED if name == "labels" else 0
        )
        for name in rows[0]
    }


def shift_right(labels: torch.Tensor, *, start: int, pad: int) -> torch.Tensor:
    """Return what a decoder reads to write these labels, [B, L]: each token's predecessor.

    Source: transformers 5.23, `shift_tokens_right` of Whisper, Moonshine and Speech2Text.
    """
    shifted = torch.cat([labels.new_full((len(labels), 1), start), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad)
