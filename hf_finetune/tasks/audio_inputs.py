"""Clips -> model inputs by the checkpoint's own feature extractor, long ones window by window; micro-batches.

Rows are not padded to each other when they are made, so that a row does not depend on those beside it;
`pad_rows` pads a micro-batch to its longest row, and evaluations undo that for models that hear the padding
(equal_lengths.py). An extractor whose inputs always have one length (Whisper's
30 s, AST's 10 s) pads to that by itself. There is an attention mask where the extractor returns one: wav2vec2
models with `feat_extract_norm: group` were trained without, and their extractors say so.

Shapes: B rows, N samples, W windows of a row, V windows of all rows, C outputs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_finetune.problems import NUM_SAMPLES
from hf_finetune.tasks.equal_lengths import forward_alike
from hf_finetune.tasks.feature_extractor import find_window
from hf_finetune.tasks.values import Row

__all__ = ["AudioTransform", "WindowTransform", "forward_windows", "pad_rows"]

NUM_WINDOWS = "num_windows"


class AudioTransform:
    """What turns clips into model inputs.

    Args:
        extractor: Of the checkpoint.

    Attributes:
        full_length: Samples that every input stands for, where all have one length; else None.
        key: Says what the inputs depend on beside the clip, where they are worth keeping: spectrograms are
            made 20 to 40 a second. Empty for waves, which are only normalised, at thousands a second.
    """

    def __init__(self, extractor: Any) -> None:
        self.extractor = extractor
        self.names = tuple(extractor.model_input_names)
        window = find_window(extractor)
        self.full_length = round(window * extractor.sampling_rate) if window else None
        self.key = self._describe() if self._is_costly() else ""

    def __call__(self, rows: Sequence[Row]) -> dict[str, list[torch.Tensor]]:
        """Return "input_values" or "input_features" of each row, and "attention_mask" where there is one."""
        made = [self.extract(row["audio"]) for row in rows]
        return {name: [one[name] for one in made] for name in made[0]}

    def extract(self, clip: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the inputs of one clip."""
        found = self.extractor(clip, sampling_rate=self.extractor.sampling_rate, return_tensors="np")
        return {name: torch.from_numpy(np.asarray(found[name][0])) for name in self.names if name in found}

    def _is_costly(self) -> bool:
        noise = np.random.default_rng(0).standard_normal(self.extractor.sampling_rate, np.float32)
        probe = self.extract(0.1 * noise)
        return probe[self.names[0]].ndim > 1

    def _describe(self) -> str:
        told = f"{transformers.__version__} {type(self.extractor).__name__} {self.extractor.to_json_string()}"
        return hashlib.sha256(told.encode()).hexdigest()


class WindowTransform(AudioTransform):
    """The same for evaluation: a long clip becomes several windows, of which `forward_windows` makes one row.

    Args:
        extractor: Of the checkpoint.
        seconds: Length of a window.
    """

    def __init__(self, extractor: Any, seconds: float) -> None:
        super().__init__(extractor)
        self.size = round(seconds * extractor.sampling_rate)
        self.key = self.key and f"{self.key}-{self.size}"

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the inputs, [W, ...] for each row, "num_windows" [B]; without a mask "num_samples" [B]."""
        made = [[self.extract(window) for window in self.cut(row["audio"])] for row in rows]
        names = made[0][0]
        inputs = {name: [torch.stack([one[name] for one in windows]) for windows in made] for name in names}
        counts = {NUM_WINDOWS: torch.tensor([len(windows) for windows in made])}
        if "attention_mask" not in names and made[0][0][self.names[0]].dim() == 1:
            counts[NUM_SAMPLES] = torch.tensor([len(windows[0][self.names[0]]) for windows in made])
        return {**inputs, **counts}

    def cut(self, clip: np.ndarray) -> list[np.ndarray]:
        """Return windows that cover a clip: as few as possible, all of one length, evenly spaced."""
        count = max(1, math.ceil(len(clip) / self.size))
        starts = np.linspace(0, max(0, len(clip) - self.size), count).round().astype(int)
        return [clip[start : start + self.size] for start in starts]


def pad_rows(
    rows: Sequence[Mapping[str, torch.Tensor]], *, padding_value: float = 0.0
) -> dict[str, torch.Tensor]:
    """Make a micro-batch: inputs padded at their ends, masks with 0; windows of all rows one after the other.

    Args:
        rows: Of a data set.
        padding_value: Of the feature extractor.
    """
    batch = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if NUM_WINDOWS in rows[0] and values[0].dim() > 0 and name != "labels":
            values = [window for windows in values for window in windows]
        if values[0].dim() == 0 or name == "labels":
            batch[name] = torch.stack(values)
            continue
        fill = padding_value if values[0].is_floating_point() else 0
        batch[name] = pad_sequence(values, batch_first=True, padding_value=fill)
    return batch


def forward_windows(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> Any:
    """Return a model's outputs for an evaluation batch: logits of a row are the mean over its windows.

    The windows go through the model B at a time, so that memory does not grow with the length of the clips.
    The mean of logits is, up to a constant, the logarithm of the geometric mean of the windows'
    probabilities.

    Args:
        model: Takes the inputs but "num_windows".
        inputs: As `pad_rows` makes them; V windows, and "num_windows" [B].
    """
    windows = {name: value for name, value in inputs.items() if name != NUM_WINDOWS}
    counts = inputs[NUM_WINDOWS].tolist() if NUM_WINDOWS in inputs else []
    if sum(counts) == len(counts):
        return forward_alike(model, windows)
    if NUM_SAMPLES in windows:
        windows[NUM_SAMPLES] = windows[NUM_SAMPLES].repeat_interleave(inputs[NUM_WINDOWS])
    step = len(counts)
    parts = [
        forward_alike(model, {name: value[start : start + step] for name, value in windows.items()}).logits
        for start in range(0, sum(counts), step)
    ]
    logits = torch.stack([own.mean(dim=0) for own in torch.split(torch.cat(parts), counts)])  # [B, C]
    return SequenceClassifierOutput(logits=logits)
