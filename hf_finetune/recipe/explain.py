"""pydantic's errors -> findings in our own words."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from hf_finetune.recipe.places import Finding, KeyPath, dotted
from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.specs import Spec
from hf_finetune.recipe.training_fields import training_fields
from hf_finetune.recipe.training_rules import OTHER_NAMES
from hf_finetune.recipe.validation import ERROR_TYPE
from hf_finetune.recipe.wording import describe, find_near, hint, list_words
from hf_finetune.secrecy import is_secret

__all__ = ["explain"]

_EXPECTED: dict[str, tuple[str, set[str]]] = {
    # pydantic's type of error: what is expected, the kinds for a hint
    "string_type": ("text", {"str"}),
    "string_too_short": ("some text", set()),
    "int_type": ("a whole number", {"int"}),
    "int_from_float": ("a whole number", {"int"}),
    "float_type": ("a number", {"float"}),
    "bool_type": ("true or false", {"bool"}),
    "tuple_type": ("a list", {"list"}),
    "dict_type": ("a mapping (lines of `key: value`)", set()),
    "model_type": ("a mapping", set()),
    "model_attributes_type": ("a mapping", set()),
    "too_short": ("at least one entry", set()),
    "greater_than": ("a number above {gt:g}", set()),
    "greater_than_equal": ("a number of {ge:g} or more", set()),
    "less_than": ("a number below {lt:g}", set()),
    "literal_error": ("{expected}", set()),
}

_PATTERNS = {
    "imports": "the name of a .py file",
    "hub.repo_id": "name or owner/name, without spaces",
    "hub.branch": "the name of a branch, without spaces",
}

_RANGES = {"data.holdout": "a share between 0 and 1"}

_EXAMPLES = {
    "task": "Write for example `task: image-classification`.",
    "model": "Write for example `model: {checkpoint: google/vit-base-patch16-224}`.",
    "model.checkpoint": "Write the Hub id or the folder of a pre-trained model.",
    "data": "Write for example `data: {path: uoft-cs/cifar10}`.",
    "data.path": "Write a Hub id, a folder, or a format such as imagefolder, csv or parquet.",
    "sweep.space": "Write for example `space: {training.learning_rate: {low: 1e-5, high: 1e-3, log: true}}`.",
}

_SECRETS = {
    # where a secret of this section goes instead
    "hub": "Run `hf auth login` or set HF_TOKEN.",
    "tracking.comet": "Set the environment variable COMET_API_KEY.",
}

_OTHER_NAMES = {
    # what other tools call it: where it is in a recipe
    **{name: f"training.{field}" for name, field in OTHER_NAMES.items()},
    "dataset": "data",
    "datasets": "data",
    "trainer": "training",
    "training_args": "training",
    "training_arguments": "training",
    "train": "training",
    "criterion": "loss",
    "model.name": "model.checkpoint",
    "model.path": "model.checkpoint",
    "model.id": "model.checkpoint",
    "model.name_or_path": "model.checkpoint",
    "model.model_name_or_path": "model.checkpoint",
    "model_name_or_path": "model.checkpoint",
    "data.id": "data.path",
    "data.dataset": "data.path",
    "data.split": "data.splits",
    "data.augmentation": "data.augment",
    "data.augmentations": "data.augment",
    "data.transforms": "data.augment",
    "data.batch_size": "training.per_device_train_batch_size",
    "data.num_workers": "training.dataloader_num_workers",
    "data.splits.validation": "data.splits.eval",
    "data.splits.valid": "data.splits.eval",
    "data.splits.val": "data.splits.eval",
    "data.splits.dev": "data.splits.eval",
    "hub.model_id": "hub.repo_id",
    "hub.hub_model_id": "hub.repo_id",
    "hub.hub_strategy": "hub.strategy",
    "hub.hub_private_repo": "hub.private",
    "hub.revision": "hub.branch",
    "hub.hub_revision": "hub.branch",
    "sweep.num_trials": "sweep.trials",
    "sweep.n_trials": "sweep.trials",
    "comet": "tracking.comet",
    "tracking.comet.project_name": "tracking.comet.project",
    "tracking.comet.experiment_name": "tracking.comet.name",
    "tracking.comet.online": "tracking.comet.mode",
    "tracking.comet.offline": "tracking.comet.mode",
    **dict.fromkeys(
        [
            f"{section}{name}"
            for section in ("", "tracking.")
            for name in ("wandb", "tensorboard", "mlflow", "trackio")
        ],
        "training.report_to",
    ),
}


def explain(error: ErrorDetails, *, text: str = "") -> Finding:
    """Translate one error.

    Args:
        error: Of a ValidationError of `Recipe`.
        text: The scalar it is about, as it was written.
    """
    path, kind, value, context = error["loc"], error["type"], error["input"], error.get("ctx", {})
    if kind == ERROR_TYPE:
        return _complete(Finding(path, **context), text)
    if kind == "missing":
        return _missing(path)
    if kind == "extra_forbidden" and is_secret(str(path[-1])):
        place = _SECRETS.get(dotted(path[:-1]), "Set it in the environment of the run.")
        return Finding(path, "a secret does not belong in a recipe", place, is_about_key=True)
    if kind == "extra_forbidden":
        return Finding(path, "unknown key", _suggest(path), is_about_key=True)
    if path[-1:] == ("[key]",):
        what = f"got {describe(value)} as a key, expected text"
        return Finding(path[:-1], what, f"Put it in quotes: '{value}'.", is_about_key=True)
    if kind == "string_pattern_mismatch":
        what = next((text for key, text in _PATTERNS.items() if dotted(path).startswith(key)), "other text")
        return Finding(path, f"got {describe(value)}, expected {what}")
    if kind in _EXPECTED:
        template, kinds = _EXPECTED[kind]
        expected, todo = template.format(**context), hint(value, kinds, text=text)
        if kind.startswith("model") and (model := _section(path)):
            keys = list(model.model_fields)
            expected += f" with keys such as {list_words(keys)}"
            todo = f"Write {{{keys[0]}: {value}}}." if isinstance(value, str) else None
        if dotted(path) in _RANGES:
            expected = _RANGES[dotted(path)]
        return Finding(
            path, f"got {describe(value)}, expected {expected}", todo or _nearest_choice(value, context)
        )
    return Finding(path, f"got {describe(value)}: {error['msg']}")


def _complete(finding: Finding, text: str) -> Finding:
    """Add what a validator cannot know: the scalar as it was written, and keys of other sections."""
    if finding.what == "unknown key" and finding.todo is None:
        return replace(finding, todo=_suggest(finding.path))
    if text and (finding.todo or "").startswith("Put it in quotes"):
        return replace(finding, todo=f"Put it in quotes: '{text}'.")
    return finding


def _missing(path: KeyPath) -> Finding:
    todo = _EXAMPLES.get(dotted(path))
    if todo is None and path[-1] in ("name", "method"):
        todo = f"Write {{{path[-1]}: ..., option: value}}."
    return Finding(path, "this key is needed and is not there", todo)


def _nearest_choice(value: Any, context: dict[str, Any]) -> str | None:
    choices = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    near = find_near(value, choices) if isinstance(value, str) else None
    return f"Did you mean '{near}'?" if near else None


def _suggest(path: KeyPath) -> str:
    """Say where an unknown key belongs, or which one was meant."""
    section, key = path[:-1], str(path[-1])
    if home := _OTHER_NAMES.get(dotted(path).lower()):
        return _name(home, section)
    homes = [dotted(known) for known in _all_keys() if known[-1] == key]
    if len(homes) == 1:
        return _name(homes[0], section)
    model = _section(section)
    here = list(model.model_fields) if model else []
    if near := find_near(key, here):
        return f"Did you mean '{near}'?"
    return f"Known here: {list_words(here)}." if here else "The keys here are those of TrainingArguments."


def _name(home: str, section: KeyPath) -> str:
    parent, _, key = home.rpartition(".")
    return f"Did you mean '{key}'?" if parent == dotted(section) else f"Did you mean '{home}'?"


@cache
def _all_keys() -> tuple[KeyPath, ...]:
    return (*_keys_of(Recipe, ()), *(("training", name) for name in training_fields()))


def _keys_of(model: type[Spec], path: KeyPath) -> Iterator[KeyPath]:
    for name, field in model.model_fields.items():
        yield (*path, name)
        below = _model_in(field.annotation)
        if below is not None and "." not in name:
            yield from _keys_of(below, (*path, name))


def _section(path: KeyPath) -> type[Spec] | None:
    """Return the model that describes the mapping at a path."""
    model: type[Spec] | None = Recipe
    for part in path:
        if model is None:
            return None
        field = model.model_fields.get(str(part))
        model = _model_in(field.annotation) if field else model if path[:2] == ("sweep", "space") else None
    return model


def _model_in(annotation: Any) -> type[Spec] | None:
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
