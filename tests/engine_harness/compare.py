"""Bit-exact comparison of two runs: `==`, never `close`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

TIMES = ("_runtime", "_per_second", "_seconds")


def without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if not name.endswith(TIMES)} for entry in history]


def first_difference(a: Any, b: Any, where: str = "") -> str | None:
    """Return the first place where two nested values are not the same, or None."""
    if type(a) is not type(b):
        return f"{where}: {type(a).__name__} and {type(b).__name__}"
    if isinstance(a, torch.Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{where}: {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
        # on which device may differ: Accelerate moves Adagrad's step counts to the GPU, loading does not
        a, b = a.detach().cpu(), b.detach().cpu()
        bits = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (a, b)]
        if torch.equal(*bits):
            return None
        return f"{where}: tensors differ by up to {(a.double() - b.double()).abs().max().item():.3g}"
    if isinstance(a, np.ndarray):
        return None if np.array_equal(a, b) else f"{where}: arrays differ"
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{where}: only one has {sorted(map(str, a.keys() ^ b.keys()))}"
        found = (first_difference(a[key], b[key], f"{where}.{key}") for key in a)
        return next((difference for difference in found if difference), None)
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{where}: {len(a)} and {len(b)} entries"
        found = (first_difference(x, y, f"{where}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True)))
        return next((difference for difference in found if difference), None)
    both_nan = isinstance(a, float) and a != a and b != b
    return None if both_nan or a == b else f"{where}: {a!r} and {b!r}"


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return everything in a checkpoint by file name, without what depends on the clock."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors":
            found[name] = load_file(path)
        elif path.name == "training_args.bin":
            found[name] = torch.load(path, weights_only=False).to_dict()
        elif path.suffix in (".pt", ".pth"):
            found[name] = torch.load(path, weights_only=False)
        elif path.suffix == ".json":
            found[name] = json.loads(path.read_text())
        elif path.is_file():
            found[name] = path.read_bytes()
    state = found["trainer_state.json"]
    state["log_history"] = without_times(state["log_history"])
    for name, content in found.items():
        if name.startswith("engine_state"):
            content.pop("seconds")
    found["manifest.json"] = sorted(found.pop("manifest.json")["files"])
    return found


def compare_runs(a: dict[str, Any], b: dict[str, Any], *, skip: tuple[str, ...] = ()) -> list[str]:
    """Return what differs between two outcomes of `execute`."""
    found = (first_difference(a[name], b[name], name) for name in a if name not in skip)
    return [difference for difference in found if difference]
