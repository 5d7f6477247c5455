"""How many frames a model makes of a clip."""

from __future__ import annotations

from typing import Any

__all__ = ["count_frames"]


def count_frames(lengths: Any, config: Any) -> Any:
    """Return the frames of inputs of these lengths, by the formula of torch's convolutions.

    transformers 5.23 has it only as `_get_feat_extract_output_lengths` of each model, which is private and
    needs a model; tests/unit/tasks/test_speech_frames.py holds the two together.

    Args:
        lengths: Samples of a wave, or frames of features where the model has no convolutions over the wave; a
            tensor, an array or a number.
        config: Of the model.
    """
    is_wave = hasattr(config, "conv_kernel") and config.model_type != "wav2vec2-bert"
    if is_wave:
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            lengths = (lengths - kernel) // stride + 1
    if getattr(config, "add_adapter", False):
        # only wav2vec2-bert pads; the other adapters are counted as if their kernel were 1
        kernel, pad = (1, 0) if is_wave else (config.adapter_kernel_size, config.adapter_kernel_size // 2)
        for _ in range(config.num_adapter_layers):
            lengths = (lengths + 2 * pad - kernel) // config.adapter_stride + 1
    return lengths
