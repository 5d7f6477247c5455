"""A long wave through a CTC model, window by window: attention takes memory by the square of the length.

Shapes: B rows, N samples, T frames, C tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from hf_finetune.tasks.speech_recognition.frames import count_frames

__all__ = ["forward_long_waves"]

STEP_S, CONTEXT_S = 25.0, 2.5
"""What is kept of a window, and what the model hears beside it at either end."""


def forward_long_waves(model: nn.Module, inputs: Mapping[str, torch.Tensor], *, sampling_rate: int) -> Any:
    """Return a model's outputs; the frames of rows longer than a window come from the middles of windows.

    A window starts at a multiple of the model's stride, so that its frames are those of the whole wave; only
    what the transformer hears around them is less.

    Args:
        model: For CTC, of waves; no adapter layers after its convolutions.
        inputs: "input_values" [B, N] without padding where they are longer than a window, and
            "attention_mask" [B, N] where the model takes one.
        sampling_rate: In Hz.

    Source: von Platen, Patry 2022, "Making automatic speech recognition work on large files with Wav2Vec2"
    (huggingface.co/blog/asr-chunking), as `chunk_length_s` and `stride_length_s` of transformers' pipeline.
    """
    network: Any = model
    stride = math.prod(network.config.conv_stride)
    step, context = (round(seconds * sampling_rate) // stride for seconds in (STEP_S, CONTEXT_S))
    num_samples = inputs["input_values"].shape[1]
    num_frames = count_frames(num_samples, network.config)
    if num_frames <= step + 2 * context:
        return model(**inputs)
    field = num_samples - (num_frames - 1) * stride  # samples of a frame, and what is left at the end
    parts = []
    for first in range(0, num_frames, step):
        begin, end = max(0, first - context), min(first + step + context, num_frames)
        samples = slice(begin * stride, (end - 1) * stride + field)
        logits = model(**{name: value[:, samples] for name, value in inputs.items()}).logits
        parts.append(logits[:, first - begin : first - begin + step])
    return CausalLMOutput(logits=torch.cat(parts, dim=1))  # [B, T, C]
