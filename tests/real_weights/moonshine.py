"""Moonshine tiny out of npm's `@moonshine-ai/moonshine-js` (MIT): from 8-bit ONNX to transformers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    PreTrainedTokenizerFast,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
NEW_NAMES = {"dense": "o_proj", "up_proj": "fc1", "down_proj": "fc2"}
"""Of the graphs, which are of an earlier state of transformers' class."""


def save_moonshine(model_folder: Path, tokenizer_file: Path, folder: Path) -> Path:
    """Write the checkpoint as the Hub has it, with no weight missing and none left over."""
    # the Hub's config has no padding token, and training needs one: the end, which generate takes, too
    config = MoonshineConfig(pad_token_id=2)
    model = MoonshineForConditionalGeneration(config)
    state = {f"encoder.{name}": array for name, array in read_weights(model_folder / "encoder_model.onnx")}
    state |= dict(read_weights(model_folder / "decoder_model_merged.onnx"))
    tensors = {name.removeprefix("model."): torch.tensor(array) for name, array in state.items()}
    found = model.model.load_state_dict(tensors, strict=True)
    assert not found.missing_keys
    assert not found.unexpected_keys
    model.tie_weights()
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_file), unk_token=UNKNOWN, bos_token=START, eos_token=END, pad_token=END
    )
    assert tokenizer.convert_tokens_to_ids([START, END]) == [config.bos_token_id, config.eos_token_id]
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=False)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


def read_weights(file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and float32 array of every weight of a graph that onnxruntime's tools made 8-bit numbers of.

    Convolutions, embeddings, norms and biases still have their names. A matrix has lost its own, and its
    product tells it: "/layers.0/self_attn/q_proj/MatMul_quant" multiplies by the transposed weight of
    layers.0.self_attn.q_proj. The scale and bias of the group norm are told in the same way.
    """
    import onnx  # an extra of its own, which the default suite does without

    graph = onnx.load(file).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for name in arrays:
        named = re.fullmatch(r"([a-z].*\.(?:weight|bias))(_merged_0)?(_quantized)?", name)
        if named:
            yield _rename(named[1]), _restore(arrays, name)
    for node in _list_nodes(graph):
        module = node.name.strip("/").rpartition("/")[0].replace("/", ".")
        if node.op_type == "MatMulInteger" and node.input[1] in arrays:
            yield _rename(f"{module}.weight"), np.ascontiguousarray(_restore(arrays, node.input[1]).T)
        elif module == "groupnorm" and node.op_type in ("Mul", "Add") and node.input[1] in arrays:
            leaf = {"Mul": "weight", "Add": "bias"}[node.op_type]
            yield f"{module}.{leaf}", arrays[node.input[1]].reshape(-1)


def _list_nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of its branches: the decoder has one with and one without a cache."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _list_nodes(attribute.g)


def _rename(name: str) -> str:
    return ".".join(NEW_NAMES.get(part, part) for part in name.split("."))


def _restore(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Return the float32 numbers that an array of 8 bits stands for; others are what they are."""
    stem = name.removesuffix("_quantized")
    if stem == name:
        return arrays[name]
    scale, zero = arrays[f"{stem}_scale"], arrays[f"{stem}_zero_point"]
    if zero.dtype == np.float32:  # of convolutions: what is added at the end
        return arrays[name] * scale + zero
    return (arrays[name].astype(np.float32) - zero.astype(np.float32)) * scale
