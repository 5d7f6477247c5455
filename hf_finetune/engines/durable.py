"""Tensors written to files that are hashed on the way; see `atomic_io`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch

from hf_finetune.atomic_io import HashingFile

__all__ = ["write_safetensors", "write_torch"]

_SAFETENSORS_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Write tensors in the safetensors format and return the file's facts.

    The library's own writer neither hashes nor lets another thread run while it writes.

    Args:
        path: The file to make.
        tensors: Tensors that share no memory.

    Source: https://github.com/huggingface/safetensors#format
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    # widest types first, so that every tensor starts aligned
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in names:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        kind = _SAFETENSORS_TYPES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with HashingFile(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy())
    return file.facts()


def write_torch(path: Path, value: Any) -> dict[str, Any]:
    """Write a value with `torch.save` and return the file's facts."""
    with HashingFile(path) as file:
        torch.save(value, cast(IO[bytes], file))
    return file.facts()
