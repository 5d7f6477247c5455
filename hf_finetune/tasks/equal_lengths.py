"""Evaluate a row as if it were alone: some models hear the padding that makes a batch of unequal clips.

A model without an attention mask hears silence behind the shorter clips; one with a group norm over time
(wav2vec2, HuBERT and WavLM with `feat_extract_norm: group`, SEW, Moonshine) takes its mean and variance over
the padding, mask or none; and convolutions behind the first layers reach into it (data2vec-audio, adapters).
In evaluations and predictions such models are given the rows of a batch by equal lengths: what comes out does
not depend on the others. Training is as in transformers: it sees the padding.

Shapes: B rows, N samples, T frames or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import CausalLMOutput

from hf_finetune.problems import NUM_SAMPLES

__all__ = ["count_inputs", "find_groups", "forward_alike", "join_rows", "take_rows"]

PADDED = ("attention_mask", "input_values", "input_features")
"""Inputs whose second dimension is time, where a model hears padding."""


def find_groups(
    model: nn.Module, inputs: Mapping[str, torch.Tensor]
) -> list[tuple[torch.Tensor, int]] | None:
    """Return (rows, length) for each length of clip in a batch; None where the model hears no padding.

    Args:
        model: What it is made of says whether it does.
        inputs: Of a batch, with "attention_mask" or "num_samples"; those of one length each have neither.
    """
    lengths = count_inputs(inputs)
    width = next((inputs[name].shape[1] for name in PADDED if name in inputs), 0)
    if lengths is None or bool((lengths == width).all()) or not _hears_padding(model, inputs):
        return None
    return [(torch.nonzero(lengths == length)[:, 0], length) for length in sorted(set(lengths.tolist()))]


def _hears_padding(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> bool:
    config = getattr(model, "config", None)
    return (
        "attention_mask" not in inputs
        or getattr(config, "model_type", "") == "data2vec-audio"
        or bool(getattr(config, "add_adapter", False))
        or any(isinstance(part, nn.GroupNorm) for part in model.modules())
    )


def count_inputs(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return the length of each row's input, [B]; None where nothing says it."""
    if "attention_mask" in inputs:
        return inputs["attention_mask"].sum(-1)
    return inputs.get(NUM_SAMPLES) if "input_values" in inputs else None


def take_rows(inputs: Mapping[str, torch.Tensor], rows: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
    """Return some rows of a batch without their padding."""
    return {
        name: value[rows, :length] if name in PADDED else value[rows]
        for name, value in inputs.items()
        if name != NUM_SAMPLES
    }


def forward_alike(
    model: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    forward: Callable[[nn.Module, Mapping[str, torch.Tensor]], Any] | None = None,
) -> Any:
    """Return a model's outputs, where it hears padding those of each length by itself.

    Args:
        model: Takes the inputs but "num_samples".
        inputs: Of a batch.
        forward: How; by calling the model if left out.
    """
    call = forward if forward is not None else lambda model, inputs: model(**inputs)
    groups = find_groups(model, inputs)
    if groups is None:
        return call(model, {name: value for name, value in inputs.items() if name != NUM_SAMPLES})
    parts = [call(model, take_rows(inputs, rows, length)).logits for rows, length in groups]
    return CausalLMOutput(logits=join_rows(groups, parts))


def join_rows(
    groups: list[tuple[torch.Tensor, int]], parts: list[torch.Tensor], fill: float = 0
) -> torch.Tensor:
    """Put the rows of groups back in their order, [B, ...] or [B, T, ...], padded at their ends.

    Args:
        groups: As `find_groups` returned them.
        parts: What came of each.
        fill: What pads.
    """
    if parts[0].dim() > 1:
        most, rest = max(part.shape[1] for part in parts), parts[0].dim() - 2
        parts = [F.pad(part, (0, 0) * rest + (0, most - part.shape[1]), value=fill) for part in parts]
    joined = torch.cat(parts)
    order = torch.cat([rows for rows, _ in groups])
    return joined[order.argsort()]
