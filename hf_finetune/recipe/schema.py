"""JSON schema of recipes, for editors: completion, descriptions and types while writing."""

from __future__ import annotations

from typing import Any

from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.training_checks import choices_of
from hf_finetune.recipe.training_combinations import own_defaults
from hf_finetune.recipe.training_fields import TrainingField, training_fields
from hf_finetune.recipe.training_rules import RULES, UNUSABLE

__all__ = ["json_schema"]

_TYPES = {"bool": "boolean", "dict": "object", "null": "null"}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe file, with the TrainingArguments of the installed transformers."""
    schema = Recipe.model_json_schema()
    names = {"type": "string", "minLength": 1}
    schema["properties"] = {
        "extends": {
            "title": "Extends",
            "description": "Recipe this one builds on, relative to this file, or a list of them.",
            "anyOf": [names, {"type": "array", "items": names}],
        },
        **schema["properties"],
    }
    # refused by load_recipe: an editor must not offer it
    schema["properties"]["sweep"] |= {"anyOf": [{"type": "null"}]}
    for name in ("SweepSpec", "SpaceSpec"):
        del schema["$defs"][name]
    schema["properties"]["training"] |= {
        "additionalProperties": False,
        "properties": {
            name: _field_schema(field) for name, field in training_fields().items() if name not in UNUSABLE
        },
    }
    # what a file extends can bring the rest
    schema["anyOf"] = [{"required": ["extends"]}, {"required": schema.pop("required")}]
    for definition in schema["$defs"].values():
        definition.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "hf-finetune recipe",
    }


def _field_schema(field: TrainingField) -> dict[str, Any]:
    choices, branches = choices_of(field), []
    text: dict[str, Any] = {"enum": list(choices)} if choices and not field.items else {"type": "string"}
    item: dict[str, Any] = {"enum": list(choices)} if choices else {"type": "string"}
    if field.kinds & {"int", "float"}:
        rule = RULES.get(field.name)
        number = "number" if "float" in field.kinds else "integer"
        branches.append({"type": number, **(rule.schema if rule else {})})
    if "str" in field.kinds:
        branches.append(text)
    if "list" in field.kinds:
        branches.append({"type": "array", "items": item})
    branches += [{"type": name} for kind, name in _TYPES.items() if kind in field.kinds]
    shape = branches[0] if len(branches) == 1 else {"anyOf": branches}
    default = own_defaults({}).get(field.name, field.default)
    return {"description": field.help, **shape, **({} if default is None else {"default": default})}
