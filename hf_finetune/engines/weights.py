"""The weights of a checkpoint: written under the names in memory, read back every one or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, PeftType, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from hf_finetune.engines import durable
from hf_finetune.engines.randomness import isolated
from hf_finetune.errors import CheckpointError

__all__ = ["load_weights", "save_weights"]

WEIGHTS, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"


def save_weights(model: nn.Module, folder: Path) -> dict[str, Any]:
    """Write weights and configuration as `save_pretrained` does; return the facts of the large files."""
    if isinstance(model, PeftModel):
        with _all_ranks(model):
            # "auto" would ask the Hub for the base's vocabulary at each save
            model.save_pretrained(str(folder), save_embedding_layers=False)
        return {}
    if isinstance(model, PreTrainedModel):
        # with no tensors to write it does all the rest: config, generation config, custom code
        with _quietly():
            model.save_pretrained(str(folder), state_dict={}, save_original_format=False)
    return {WEIGHTS: durable.write_safetensors(folder / WEIGHTS, _tensors(model))}


def load_weights(folder: Path | str, model: nn.Module) -> None:
    """Read a checkpoint's weights into the model, in place; every weight or none.

    Args:
        folder: A checkpoint of either engine or of a plain `Trainer`; published names are converted.
        model: A `PreTrainedModel`, a `PeftModel` (its active adapter is read) or any module.

    Raises:
        CheckpointError: The files lack a weight of the model, have one it does not know, or another shape.
    """
    folder = Path(folder)
    if isinstance(model, PeftModel):
        _load_adapter(folder, model)
        return
    found = _read(folder)
    expected = _tensors(model)
    if found.keys() != expected.keys() and isinstance(model, PreTrainedModel):
        found = _convert(folder, model)
    _check(folder, set(expected), set(found))
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            shapes = f"{tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
            raise CheckpointError(f"the weight {name} has the shape {shapes}", where=str(folder))
    model.load_state_dict(found, strict=False)


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the model's tensors by name, each piece of memory once, under the name that ties the others."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    unsaved = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    tensors: dict[str, torch.Tensor] = {}
    owners: set[tuple[int, torch.Size, tuple[int, ...]]] = set()
    state = model.state_dict()
    for name in sorted(state, key=lambda name: name in tied):
        tensor = state[name]
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if name in unsaved or (tensor.numel() > 0 and place in owners):
            continue
        owners.add(place)
        tensors[name] = tensor
    return tensors


def _read(folder: Path) -> dict[str, torch.Tensor]:
    try:
        if (folder / WEIGHTS).is_file():
            return dict(load_file(folder / WEIGHTS))
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        return {
            name: tensor for shard in sorted(shards) for name, tensor in load_file(folder / shard).items()
        }
    except Exception as error:  # every way in which a reader can stumble over damaged bytes
        raise CheckpointError(
            f"there are no readable safetensors weights ({error})", where=str(folder)
        ) from error


def _convert(folder: Path, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Let `from_pretrained`, which knows every family's published names, read the file."""
    with isolated(0), _quietly():  # it draws initial values before it overwrites them
        twin, report = type(model).from_pretrained(
            str(folder),
            config=model.config,
            dtype=model.dtype,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, with what is missing
        )
    names = _tensors(twin)
    other_shape = {str(mismatch[0]) for mismatch in report.get("mismatched_keys") or ()}
    found = set(names) - set(report["missing_keys"]) - other_shape
    _check(folder, set(names), found | set(report["unexpected_keys"]))
    return names


def _load_adapter(folder: Path, model: PeftModel) -> None:
    adapter = model.active_adapters[0]
    path = folder / ADAPTER
    if not path.is_file() and (folder / adapter / ADAPTER).is_file():
        path = folder / adapter / ADAPTER
    if not path.is_file():
        raise CheckpointError(f"{ADAPTER} is missing", where=str(folder))
    found = load_file(path)
    with _all_ranks(model):
        expected = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
        _check(folder, set(expected), set(found))
        set_peft_model_state_dict(model, found, adapter_name=adapter)


@contextmanager
def _all_ranks(model: PeftModel) -> Iterator[None]:
    """Keep AdaLoRA's masked ranks, too: while it trains they come back, and the optimizer has them all."""
    config = model.peft_config[model.active_adapters[0]]
    pattern = config.rank_pattern if config.peft_type == PeftType.ADALORA else None
    if pattern is None:
        yield
        return
    config.rank_pattern = None
    try:
        yield
    finally:
        config.rank_pattern = pattern


def _check(folder: Path, expected: set[str], found: set[str]) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if missing or unknown:
        lack = f"lacks {_some(missing)}" if missing else ""
        extra = f"has unknown {_some(unknown)}" if unknown else ""
        raise CheckpointError(
            f"the weights do not fit the model: the file {' and '.join(filter(None, [lack, extra]))}",
            where=str(folder),
            todo="Resume with the model the run was started with.",
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers' progress bars and its report of what did not fit to itself; errors say it here."""
    was_shown, verbosity = (
        transformers_logging.is_progress_bar_enabled(),
        transformers_logging.get_verbosity(),
    )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if was_shown:
            transformers_logging.enable_progress_bar()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
