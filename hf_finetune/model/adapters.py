"""Small modules to train in place of a checkpoint's weights, by any method of PEFT."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from torch import nn

from hf_finetune.errors import ModelError
from hf_finetune.hub_access import find_cached_commit
from hf_finetune.model.targets import find_targets, require_effect, require_modules
from hf_finetune.recipe import ModelSpec, PeftSpec
from hf_finetune.tasks.base import Task

__all__ = ["add_adapters", "merge_adapters", "prune_ranks"]

logger = logging.getLogger(__name__)

TASK_TYPES = {
    # the class of transformers that loads the model: PEFT's name for such tasks
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
}

NEED_MORE = {
    "cartridge": "begins from the cache of a prompt, which a recipe cannot give",
    "cpt": "learns from examples in a prompt, which a recipe cannot give",
    "multitask_prompt_tuning": "wants the number of a task with each row",
    "poly": "wants the number of a task with each row",
    "shadow": "trains a second, smaller model of a causal language model beside the first",
    "xlora": "mixes adapters that are trained already",
}
"""Methods that take more than a model and its rows: what that is."""

NO_MERGE = "Leave model.peft.merge out: the adapters are then kept alone."

PLACEHOLDER_STEPS = 1_000_000
"""AdaLoRA's config wants the number of updates before the engine knows it; it is set when training begins."""


def add_adapters(
    model: nn.Module, spec: ModelSpec, task: Task, new_layers: Sequence[str], *, where: str
) -> nn.Module:
    """Freeze a model and add the adapters that a recipe asks for.

    Layers that the checkpoint did not have are trained whole and kept beside the adapters: below frozen
    weights a head with random weights would stay random.

    Args:
        model: As loaded from the checkpoint.
        spec: Of the recipe; `spec.peft` says which adapters, the checkpoint is named as their base.
        task: Prompts can only be learned for some.
        new_layers: Names of the modules that are new.
        where: The place of `model.peft`, for messages.

    Raises:
        ModelError: The method is not for this task or this model, or an option matches nothing.
    """
    assert spec.peft is not None
    if spec.peft.method in NEED_MORE:
        raise ModelError(
            f"model.peft: {spec.peft.method} {NEED_MORE[spec.peft.method]}",
            where=where,
            todo="Use another method.",
        )
    config_class, tuner = _look_up(spec.peft)
    known = config_class.__dataclass_fields__
    options = dict(spec.peft.options)
    is_prompt = issubclass(config_class, peft.PromptLearningConfig)
    task_type = TASK_TYPES.get(task.auto_model)
    if is_prompt and task_type is None:
        raise ModelError(
            f"model.peft: {spec.peft.method} learns tokens to put before a text, and {task.name} has none",
            where=where,
            todo="Use a method that changes layers, such as lora, adalora, ia3, oft, loha, lokr or vera.",
        )
    if is_prompt and spec.peft.merge:
        raise ModelError(
            f"model.peft.merge: {spec.peft.method} changes no weights, so there is nothing to merge into",
            where=where,
            todo=NO_MERGE,
        )
    for key in ("target_modules", "exclude_modules", "modules_to_save", "feedforward_modules"):
        require_modules(model, options.get(key), key, where=where)
    if "target_modules" in known and options.get("target_modules") is None:
        found = find_targets(model, tuner, new_layers)
        if found is not None:
            options["target_modules"] = found
            logger.info("model.peft: %s on %s", spec.peft.method, ", ".join(found))
            if "feedforward_modules" in known:
                options.setdefault("feedforward_modules", [])
    if new_layers and "modules_to_save" not in known:
        raise ModelError(
            f"model.peft: {spec.peft.method} keeps no whole layers, and {new_layers[0]} is new",
            where=where,
            todo="Use another method, or a checkpoint that has this head.",
        )
    if "modules_to_save" in known:
        options["modules_to_save"] = sorted({*(options.get("modules_to_save") or ()), *new_layers}) or None
    if spec.peft.method == "adalora":
        options["total_step"] = PLACEHOLDER_STEPS
    revision = _name_base(model, spec)
    names = set(model.state_dict())
    with _telling(spec.peft, where):
        config = config_class(task_type=task_type, **options)
        adapted: nn.Module = peft.get_peft_model(model, config, revision=revision)
    require_effect(adapted, spec.peft.options, where=where)
    if spec.peft.merge and set(merge_adapters(adapted, where=where).state_dict()) != names:
        # peft 0.21 leaves the copies of ln_tuning under names that no loader reads
        raise ModelError(f"model.peft: {spec.peft.method} cannot be merged", where=where, todo=NO_MERGE)
    return adapted


def merge_adapters(model: nn.Module, *, where: str | None = None) -> nn.Module:
    """Return a whole model with the adapters added into its weights; the given one stays as it is.

    Raises:
        ModelError: A merged weight is not finite, or the method cannot merge.
    """
    twin = copy.deepcopy(model)
    try:
        merged: nn.Module = twin.merge_and_unload(safe_merge=True)  # type: ignore[operator]
    except (AttributeError, NotImplementedError, ValueError) as error:
        raise ModelError(f"the adapters cannot be merged: {error}", where=where, todo=NO_MERGE) from error
    return merged


def prune_ranks(model: Any) -> None:
    """Let AdaLoRA keep only the ranks that do something: those whose singular value is not 0.

    Which ranks were masked last is in the config, but the weights may be those of an earlier checkpoint.
    One rank of a module always stays: PEFT takes an empty matrix for a broken one.
    """
    config = model.peft_config[model.active_adapters[0]]
    if config.peft_type != peft.PeftType.ADALORA:
        return
    pattern = {}
    for name, values in model.base_model.model.named_parameters():
        if ".lora_E." in name:
            is_used = (values != 0).view(-1).tolist()
            pattern[name] = is_used if any(is_used) else [True, *is_used[1:]]
    config.rank_pattern = pattern


def _look_up(spec: PeftSpec) -> tuple[Any, Any]:
    kinds = {kind.value.lower(): kind for kind in PEFT_TYPE_TO_CONFIG_MAPPING}
    kind = kinds[spec.method]
    return PEFT_TYPE_TO_CONFIG_MAPPING[kind], PEFT_TYPE_TO_TUNER_MAPPING[kind]


def _name_base(model: Any, spec: ModelSpec) -> str | None:
    """Let the adapters name the checkpoint they belong to, and return its commit."""
    folder = Path(spec.checkpoint)
    if folder.is_dir():
        model.name_or_path = str(folder.resolve())
        logger.info(
            "model.peft: the adapters belong to the folder %s: whoever loads them needs it "
            "(model.peft.merge: true keeps a whole model)",
            folder,
        )
        return None
    return find_cached_commit("model", spec.checkpoint, spec.revision or "main") or spec.revision


@contextmanager
def _telling(spec: PeftSpec, where: str) -> Iterator[None]:
    """Pass on what PEFT warns of, and turn what it refuses into a message for the user."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # forty methods, each with its own ways to refuse
            text = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"model.peft: {spec.method}: {text}",
                where=where,
                todo="See the options of this method in the documentation of PEFT.",
            ) from error
    told = {
        " ".join(str(warning.message).split()): None
        for warning in caught
        if not issubclass(warning.category, DeprecationWarning | FutureWarning)
    }
    for text in told:  # PEFT repeats itself for each module
        logger.warning("model.peft: %s", text)
