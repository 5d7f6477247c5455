"""Checkpoint -> model: labels, new layers named, frozen parts, adapters."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import nn

from hf_finetune.errors import ModelError
from hf_finetune.model.adapters import add_adapters
from hf_finetune.model.changed_config import refuse_new_sizes, require_kept, trying_changes
from hf_finetune.pretrained import load_config, reading_checkpoint, refusing_pickles
from hf_finetune.recipe import Recipe
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Space

__all__ = ["build_model"]

logger = logging.getLogger(__name__)


def build_model(
    recipe: Recipe,
    task: Task,
    labels: Space,
    *,
    from_scratch: bool = False,
    trust_remote_code: bool = False,
) -> nn.Module:
    """Build the model a recipe asks for, with an output layer for what it is to say.

    Args:
        recipe: Reads `model`.
        task: Says which AutoModel class.
        labels: What it can say; written to the model's config.
        from_scratch: Random weights, all of them trained but the frozen ones, whatever the recipe says.
        trust_remote_code: Run code that comes with the checkpoint.

    Raises:
        HubError: The Hub cannot be reached, does not know the checkpoint or does not let us in.
        ModelError: The checkpoint is of another architecture, or `freeze` or `peft` matches nothing.
    """
    spec = recipe.model
    auto_class = getattr(transformers, task.auto_model)
    config = load_config(recipe, trust_remote_code=trust_remote_code)
    other_outputs = labels.name_other_outputs(config)
    labels.configure(config)
    require_kept(recipe, config)

    def build_empty(changed: Recipe) -> nn.Module:
        own = load_config(changed, trust_remote_code=trust_remote_code)
        labels.configure(own)
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            empty: nn.Module = auto_class.from_config(own, trust_remote_code=trust_remote_code)
        return empty

    if spec.config:
        with trying_changes(recipe, "no model can be built"):
            build_empty(recipe)
    new_layers: list[str] = []
    if from_scratch or spec.from_scratch:
        model: nn.Module = auto_class.from_config(config, trust_remote_code=trust_remote_code)
    else:
        with reading_checkpoint(recipe), refusing_pickles(recipe, spec.checkpoint):
            model, info = auto_class.from_pretrained(
                spec.checkpoint,
                config=config,
                revision=spec.revision,
                trust_remote_code=trust_remote_code,
                # None: safetensors where there are any, else a pickle, of which only tensors are read
                use_safetensors=None if recipe.may_unpickle else True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        other_shape = [name for name, *_ in info["mismatched_keys"]]
        refuse_new_sizes(recipe, model, other_shape, list(info["missing_keys"]), build_empty)
        if spec.config and info["unexpected_keys"]:
            dropped = sorted(info["unexpected_keys"])
            logger.info("left out: %d weights of the checkpoint, such as %s", len(dropped), dropped[0])
        missing = _name_new_layers(model, info, recipe)
        if spec.peft is not None:
            _refuse_loose(missing, model, where=recipe.where("model.peft"))
        new_layers = _owners(missing, model)
        if not new_layers and other_outputs:
            fresh = auto_class.from_config(config, trust_remote_code=trust_remote_code)
            new_layers = _renew_head(model, fresh, labels, other_outputs)
    task.adapt_model(model, recipe, from_scratch=from_scratch or spec.from_scratch)
    if spec.freeze:
        _freeze(model, spec.freeze, where=recipe.where("model.freeze"))
    if spec.peft is not None and not from_scratch:  # below adapters random weights would stay random
        model = add_adapters(model, spec, task, new_layers, where=recipe.where("model.peft"))
    return model


def _renew_head(model: nn.Module, fresh: nn.Module, labels: Space, other: str) -> list[str]:
    """Take the output layers of `fresh`: as many outputs as in the checkpoint, but not the same ones."""
    body = f"{getattr(model, 'base_model_prefix', '')}."
    renewed = [
        name
        for name, parameter in model.named_parameters()
        if not name.startswith(body) and parameter.shape[0] == labels.num_labels
    ]
    for name in renewed:
        model.get_parameter(name).data.copy_(fresh.get_parameter(name).data)
        logger.info("new layer %s: the checkpoint's is for %s", name, other)
    return sorted({name.rpartition(".")[0] for name in renewed})


def _name_new_layers(model: nn.Module, info: dict[str, Any], recipe: Recipe) -> list[str]:
    """Log which parameters the checkpoint did not have, and return their names."""
    other_shape = {name: (tuple(old), tuple(new)) for name, old, new in info["mismatched_keys"]}
    missing = sorted({*info["missing_keys"], *other_shape})
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    body = f"{getattr(model, 'base_model_prefix', '')}."
    body_total = sum(n for name, n in sizes.items() if name.startswith(body))
    body_new = sum(sizes.get(name, 0) for name in missing if name.startswith(body))
    if body_new > body_total / 2:
        raise ModelError(
            f"{recipe.model.checkpoint} does not fit {type(model).__name__}: {body_new:,} of the "
            f"{body_total:,} parameters below its head are not in the checkpoint (such as {missing[0]})",
            where=recipe.where("model.checkpoint"),
            todo="Use a checkpoint of this architecture, or say model.from_scratch: true.",
        )
    for name in missing:
        shapes = other_shape.get(name)
        why = f"the checkpoint has {shapes[0]}, {shapes[1]} is needed" if shapes else "not in the checkpoint"
        logger.info("new layer %s: %s", name, why)
    return missing


def _owners(names: list[str], model: nn.Module) -> list[str]:
    """Return the modules that hold these parameters, but not the whole body or the whole model."""
    owners = {name.rpartition(".")[0] for name in names}
    return sorted(owners - _roots(model))


def _refuse_loose(names: list[str], model: nn.Module, *, where: str) -> None:
    """Refuse new parameters that nothing would train or keep: adapters hold modules, not parameters."""
    loose = [name for name in names if name.rpartition(".")[0] in _roots(model)]
    for name in loose:
        if not name.endswith("masked_spec_embed"):  # stands for masked frames, in training alone
            raise ModelError(
                f"the parameter {name} is new, and adapters can neither train nor keep it",
                where=where,
                todo="Train all weights (remove model.peft), or take the setting out that asks for it.",
            )


def _roots(model: nn.Module) -> set[str]:
    return {"", getattr(model, "base_model_prefix", "")}


def _freeze(model: nn.Module, patterns: Sequence[str], *, where: str) -> None:
    named = dict(model.named_parameters())
    for pattern in patterns:
        hits = [n for n in named if fnmatch.fnmatchcase(n, pattern) or n.startswith(f"{pattern}.")]
        if not hits:
            tops = sorted({".".join(n.split(".")[:2]) for n in named})
            raise ModelError(
                f"model.freeze: {pattern!r} matches no parameter",
                where=where,
                todo=f"Parameters start with: {', '.join(tops)}",
            )
        for name in hits:
            named[name].requires_grad_(False)
    if not any(p.requires_grad for p in named.values()):
        raise ModelError("model.freeze leaves nothing to train", where=where, todo="Freeze less.")
