"""`model.peft` of a recipe, checked option by option against the config class of its method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hf_finetune.recipe.annotations import Allowed
from hf_finetune.recipe.peft_fields import PeftField, peft_fields, peft_methods
from hf_finetune.recipe.places import Finding
from hf_finetune.recipe.wording import describe, find_near, hint, list_words

__all__ = ["check_peft", "option_schemas"]

_ELSEWHERE = {
    # options that are not a recipe's to say: who says them
    "auto_mapping": "PEFT finds it out",
    "base_model_name_or_path": "model.checkpoint says it",
    "inference_mode": "it is set when a model is loaded to be used",
    "peft_type": "model.peft.method says it",
    "peft_version": "PEFT writes it down",
    "revision": "model.revision says it",
    "runtime_config": "it is not kept with the adapters",
    "task_type": "the task says it",
}

_OF_ADALORA = {
    "r": "AdaLoRA begins with init_r and ends with target_r",
    "rank_pattern": "AdaLoRA finds it out while it trains",
    "total_step": "it is the number of updates of the run",
}

_OTHER_METHODS = {
    # what people call it: what PEFT calls it
    "dora": "{method: lora, use_dora: true}",
    "rslora": "{method: lora, use_rslora: true}",
    "pissa": "{method: lora, init_lora_weights: pissa}",
    "olora": "{method: lora, init_lora_weights: olora}",
    "prefix": "{method: prefix_tuning, num_virtual_tokens: 20}",
    "prompt": "{method: prompt_tuning, num_virtual_tokens: 20}",
    "ptuning": "{method: p_tuning, num_virtual_tokens: 20}",
    "qlora": "lora",
}

_UNUSABLE_STARTS = {
    # values of init_lora_weights: what is in the way
    "corda": "it needs a pass over data before training",
    "eva": "it needs a pass over data before training",
    "loftq": "it needs a quantised checkpoint",
    "lora_ga": "it needs a pass over data before training",
}

_RANGES: dict[str, tuple[float, float, str]] = {
    "init_r": (1, math.inf, "a whole number of 1 or more"),
    "lora_alpha": (1e-12, math.inf, "a number above 0"),
    "lora_dropout": (0.0, 1.0 - 1e-12, "a number from 0 to below 1"),
    "num_virtual_tokens": (1, math.inf, "a whole number of 1 or more"),
    "orth_reg_weight": (0.0, math.inf, "a number of 0 or more"),
    "r": (1, math.inf, "a whole number of 1 or more"),
    "target_r": (1, math.inf, "a whole number of 1 or more"),
    "tfinal": (0, math.inf, "a whole number of 0 or more"),
    "tinit": (0, math.inf, "a whole number of 0 or more"),
}

_KIND_WORDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "dict": "a mapping",
    "null": "null",
}


def option_schemas(method: str) -> dict[str, Any]:
    """Return the JSON schemas of a method's options, for editors."""
    types = {"float": "number", "int": "integer", "bool": "boolean", "str": "string", "list": "array"}
    types |= {"dict": "object", "null": "null"}
    schemas: dict[str, Any] = {}
    for name, field in peft_fields(method).items():
        kinds = sorted(
            field.allowed.kinds - {"int"} if "float" in field.allowed.kinds else field.allowed.kinds
        )
        if name not in _ELSEWHERE and set(kinds) - {"null"}:
            schemas[name] = {"description": field.help, "type": [types[kind] for kind in kinds]}
    return schemas


def check_peft(method: str, options: Mapping[str, Any]) -> list[Finding]:
    """Return what PEFT would refuse or silently ignore.

    Args:
        method: As the recipe says it.
        options: Everything written beside it.
    """
    if method not in peft_methods():
        return [_unknown_method(method)]
    fields, findings = peft_fields(method), []
    for name, value in options.items():
        why = _ELSEWHERE.get(name) or (_OF_ADALORA.get(name) if method == "adalora" else None)
        if name in fields and why:
            findings.append(Finding((name,), f"it cannot be given: {why}", "Remove it.", is_about_key=True))
        elif name not in fields:
            findings.append(_unknown_option(method, name))
        else:
            findings += _check_value(fields[name], value)
    return findings + (_check_ranks(options) if method == "adalora" and not findings else [])


def _unknown_method(method: str) -> Finding:
    word = method.lower().replace("-", "_")
    if word.replace("_", "") in _OTHER_METHODS:
        return Finding(
            ("method",), f"PEFT knows no method {method!r}", f"Write {_OTHER_METHODS[word.replace('_', '')]}."
        )
    near = word if word in peft_methods() else find_near(word, peft_methods())
    known = f"Known: {', '.join(peft_methods())}."
    return Finding(
        ("method",), f"PEFT knows no method {method!r}", f"Did you mean '{near}'?" if near else known
    )


def _unknown_option(method: str, name: str) -> Finding:
    usable = [option for option in peft_fields(method) if option not in _ELSEWHERE]
    near = find_near(str(name), usable)
    todo = f"Did you mean '{near}'?" if near else f"Known here: {list_words(usable, limit=40)}."
    return Finding((name,), f"{method} has no such option", todo, is_about_key=True)


def _check_value(field: PeftField, value: Any) -> list[Finding]:
    allowed = field.allowed
    if not allowed.kinds - {"null"}:
        what = "it takes a Python object, which a recipe cannot say"
        return [Finding((field.name,), what, "Remove it.", is_about_key=True)]
    if field.name == "init_lora_weights" and isinstance(value, str):
        return _check_start(field, value)
    if isinstance(value, list) and "list" in allowed.kinds:
        wrong = [(i, item) for i, item in enumerate(value) if not _fits_item(allowed, item)]
        words = " or ".join(_KIND_WORDS[kind] for kind in sorted(allowed.item_kinds))
        return [
            Finding(
                (field.name, i), f"got {describe(item)}, expected {words} as an item", hint(item, {"str"})
            )
            for i, item in wrong
        ]
    low, high, text = _RANGES.get(field.name, (-math.inf, math.inf, ""))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if _fits(allowed, value) and (not is_number or low <= value <= high):
        return []
    near = find_near(value, allowed.choices) if isinstance(value, str) and allowed.choices else None
    todo = f"Did you mean '{near}'?" if near else None if allowed.choices else hint(value, allowed.kinds)
    return [Finding((field.name,), f"got {describe(value)}, expected {text or _expected(allowed)}", todo)]


def _check_start(field: PeftField, value: str) -> list[Finding]:
    if value in _UNUSABLE_STARTS:
        usable = [
            start for start in field.allowed.choices if start not in _UNUSABLE_STARTS and "[" not in start
        ]
        what = f"{value!r} cannot be used here: {_UNUSABLE_STARTS[value]}"
        return [Finding((field.name,), what, f"Usable: true, {', '.join(usable)}.")]
    if value.startswith("pissa_niter"):
        what = f"{value!r} draws random numbers that loading the adapters would have to repeat"
        return [Finding((field.name,), what, "Write pissa.")]
    if value in field.allowed.choices:
        return []
    near = find_near(value, field.allowed.choices)
    what = f"got {describe(value)}, expected {_expected(field.allowed)}"
    return [Finding((field.name,), what, f"Did you mean '{near}'?" if near else None)]


def _fits(allowed: Allowed, value: Any) -> bool:
    if value is None:
        return "null" in allowed.kinds
    if isinstance(value, bool):
        return "bool" in allowed.kinds
    if isinstance(value, int):
        return bool(allowed.kinds & {"int", "float"})
    if isinstance(value, float):
        return "float" in allowed.kinds and math.isfinite(value)
    if isinstance(value, str):
        return "str" in allowed.kinds and (not allowed.choices or value in allowed.choices)
    return isinstance(value, dict) and "dict" in allowed.kinds


def _fits_item(allowed: Allowed, item: Any) -> bool:
    return not allowed.item_kinds or _fits(Allowed(allowed.item_kinds, allowed.items), item)


def _expected(allowed: Allowed) -> str:
    kinds = set(allowed.kinds)
    if allowed.choices:
        kinds -= {"str"}
    if "float" in kinds:
        kinds -= {"int"}
    words = [f"one of {list_words(allowed.choices)}"] if allowed.choices else []
    return " or ".join(words + [text for kind, text in _KIND_WORDS.items() if kind in kinds])


def _check_ranks(options: Mapping[str, Any]) -> list[Finding]:
    begin, end = options.get("init_r", 12), options.get("target_r", 8)
    if end < begin:
        return []
    key = "target_r" if "target_r" in options else "init_r"
    return [Finding((key,), f"target_r ({end}) is not below init_r ({begin})", "AdaLoRA lowers the rank.")]
