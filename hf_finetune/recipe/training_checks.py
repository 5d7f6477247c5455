"""`training:` of a recipe, checked field by field against TrainingArguments, then together."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from hf_finetune.recipe.places import Finding, KeyPath
from hf_finetune.recipe.training_combinations import check_combinations
from hf_finetune.recipe.training_fields import TrainingField, known_trackers, training_fields
from hf_finetune.recipe.training_rules import (
    CHOICES,
    OTHER_NAMES,
    REMOVED,
    RENAMED,
    RULES,
    UNUSABLE,
    UNUSABLE_VALUES,
)
from hf_finetune.recipe.wording import describe, find_near, hint, list_words

__all__ = ["check_training", "choices_of", "unknown_training_key"]

_KIND_WORDS = {"bool": "true or false", "str": "text", "list": "a list", "dict": "a mapping", "null": "null"}


def check_training(values: Mapping[str, Any], *, metrics: Collection[str] | None) -> list[Finding]:
    """Return everything that TrainingArguments or Trainer would refuse, or silently ignore.

    Args:
        values: Of `training:`.
        metrics: Names of the recipe's metrics; None when they are the task's or not known.
    """
    fields = training_fields()
    findings: list[Finding] = []
    for name, value in values.items():
        findings += _check_one(fields[name], value) if name in fields else [unknown_training_key(name)]
    wrong = {finding.path[0] for finding in findings}
    return findings + check_combinations(values, wrong=wrong, metrics=metrics)


def unknown_training_key(name: str) -> Finding:
    """Say what a key is called now, or what was probably meant."""
    fields = training_fields()
    if name in RENAMED:
        return Finding((name,), f"transformers calls it {RENAMED[name]} now", is_about_key=True)
    if name in REMOVED:
        return Finding((name,), "transformers has this no more", REMOVED[name], is_about_key=True)
    near = OTHER_NAMES.get(name.lower()) or find_near(name, fields)
    return Finding((name,), "unknown key", f"Did you mean '{near}'?" if near else None, is_about_key=True)


def _check_one(field: TrainingField, value: Any) -> list[Finding]:
    if field.name in UNUSABLE and value is not None:
        what, todo = UNUSABLE[field.name]
        return [Finding((field.name,), what, todo, is_about_key=True)]
    if isinstance(value, list) and "list" in field.kinds:
        entries = [_check_entry(field, (field.name, i), item) for i, item in enumerate(value)]
    else:
        entries = [_check_entry(field, (field.name,), value)]
    return [finding for finding in entries if finding]


def _check_entry(field: TrainingField, path: KeyPath, value: Any) -> Finding | None:
    if isinstance(value, str) and (field.name, value) in UNUSABLE_VALUES:
        return Finding(path, *UNUSABLE_VALUES[field.name, value])
    if _fits(field, value) if len(path) == 1 else _fits_in_list(field, value):
        return None
    what = f"got {describe(value)}, expected {_expected(field, path)}"
    return Finding(path, what, _correction(field, value))


def _fits(field: TrainingField, value: Any) -> bool:
    if value is None:
        return "null" in field.kinds
    if isinstance(value, bool):
        return "bool" in field.kinds
    if isinstance(value, int | float):
        is_number = "float" in field.kinds or ("int" in field.kinds and isinstance(value, int))
        rule = RULES.get(field.name)
        return is_number and math.isfinite(value) and (rule is None or rule.accepts(value))
    if isinstance(value, str):
        choices, words = choices_of(field), value.split() if field.items else [value]
        return "str" in field.kinds and all(not choices or word in choices for word in words)
    return isinstance(value, dict) and "dict" in field.kinds


def _fits_in_list(field: TrainingField, item: Any) -> bool:
    choices = choices_of(field)
    return isinstance(item, str) and (not choices or item in choices)


def choices_of(field: TrainingField) -> tuple[str, ...]:
    """Return the only texts a field takes; empty when it takes any."""
    if field.name == "report_to":
        trackers = known_trackers()
        usable = [name for name in ("none", "all", *trackers) if ("report_to", name) not in UNUSABLE_VALUES]
        return tuple(usable) if trackers else ()
    return field.choices or field.items or CHOICES.get(field.name, ())


def _expected(field: TrainingField, path: KeyPath) -> str:
    rule = RULES.get(field.name)
    kinds, words = set(field.kinds) if len(path) == 1 else {"str"}, []
    if kinds & {"int", "float"}:
        noun = "a whole number" if "int" in kinds or (rule and rule.is_whole) else "a number"
        words.append(f"{noun} {rule.text}" if rule else noun)
    if choices := choices_of(field):
        words.append(f"one of {list_words(choices)}")
        words += ["a list of these"] if "list" in kinds else []
        kinds -= {"str", "list"}
    words += [text for kind, text in _KIND_WORDS.items() if kind in kinds]
    return ", or ".join(words) if choices else " or ".join(words)


def _correction(field: TrainingField, value: Any) -> str | None:
    choices = choices_of(field)
    if value is False and "no" in choices:
        return "Did you mean 'no'?"
    if choices and isinstance(value, str):
        begins = [choice for choice in choices if len(value) > 2 and choice.startswith(value.lower())]
        near = begins[0] if begins else find_near(value, choices)
        return f"Did you mean '{near}'?" if near else None
    if field.name.endswith("_steps") and value in (0, -1) and (strategy := _strategy_of(field.name)):
        return f"To switch it off, write {strategy}: no."
    rule = RULES.get(field.name)
    accepts = rule.accepts if rule is not None else lambda number: True
    return hint(value, field.kinds, accepts=accepts) if not choices else None


def _strategy_of(name: str) -> str | None:
    strategy = name.replace("_steps", "_strategy")
    return strategy if strategy in training_fields() else None
