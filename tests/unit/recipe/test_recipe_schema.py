"""The JSON schema editors are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hf_finetune.recipe import Recipe, json_schema, load_recipe
from hf_finetune.recipe.places import Problems, to_plain
from hf_finetune.recipe.yaml12 import parse

SCHEMA = json_schema()
ROOT = Path(__file__).parents[3] / "recipes"
RECIPES = sorted(path for path in ROOT.glob("**/*.yaml") if path.parent.name != "launch")
SMALL: dict[str, Any] = {"task": "t", "model": {"checkpoint": "m"}, "data": {"path": "p"}}


def accepts(data: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(data))


def test_it_is_a_schema_and_plain_json() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_key_of_a_recipe_is_explained() -> None:
    sections = [SCHEMA, *SCHEMA["$defs"].values()]
    for section in sections:
        for shape in [section, *section.get("anyOf", [])]:
            for name, field in shape.get("properties", {}).items():
                of_section = SCHEMA["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
                assert field.get("description") or of_section.get("description"), (section["title"], name)
    assert set(SCHEMA["properties"]) == {"extends", *Recipe.model_fields}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"extends": "base.yaml"},
        {"extends": ["a.yaml", "b.yaml"]},
        {"task": {"name": "t", "problem_type": "regression", "option": 1}},
        {"metrics": ["accuracy", {"name": "f1", "average": "macro"}]},
        {"model": {"checkpoint": "m", "peft": "lora"}},
        {"model": {"checkpoint": "m", "peft": {"method": "lora", "r": 16}}},
        {"data": {"path": "csv", "data_files": {"train": ["a.csv"]}, "augment": ["flip"]}},
        {"training": {"learning_rate": 1, "warmup_steps": 0.1, "eval_strategy": "no", "optim": "sgd"}},
        {"training": {"report_to": ["wandb"], "save_total_limit": None, "lr_scheduler_kwargs": {"a": 1}}},
        {"sweep": None},
        {"expected": {"eval_accuracy": 0.98}},
    ],
)
def test_right_recipes_are_valid(change: dict[str, Any]) -> None:
    assert accepts(SMALL | change)


@pytest.mark.parametrize(
    "change",
    [
        {"task": 5},
        {"trainng": {}},
        {"metrics": "accuracy"},
        {"metrics": [5]},
        {"model": {"checkpoint": "m", "revison": "x"}},
        {"data": {"path": "p", "holdout": 1}},
        {"data": {"path": "p", "bad_rows": "skip"}},
        {"training": {"learning_rat": 1e-4}},
        {"training": {"learning_rate": "1e-4"}},
        {"training": {"learning_rate": -1}},
        {"training": {"eval_strategy": "epochs"}},
        {"training": {"evaluation_strategy": "epoch"}},
        {"training": {"per_device_train_batch_size": 0}},
        {"training": {"bf16": "yes"}},
        {"training": {"report_to": ["wand"]}},
        {"training": {"hub_token": "x"}},
        {"sweep": {"space": {"training.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}}},
    ],
)
def test_wrong_recipes_are_not(change: dict[str, Any]) -> None:
    assert not accepts(SMALL | change)


def test_the_main_sections_are_needed_unless_another_recipe_brings_them() -> None:
    assert not accepts({"task": "t", "data": {"path": "p"}})
    assert accepts({"extends": "base.yaml", "data": {"revision": "main"}})


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_recipe_of_the_project_is_valid_as_written_and_resolved(path: Path) -> None:
    node = parse(path.read_text(encoding="utf-8"), path.name, Problems())
    assert node is not None
    assert accepts(to_plain(node))
    resolved = parse(load_recipe(path).to_yaml(), "resolved", Problems())
    assert resolved is not None
    assert accepts(to_plain(resolved))
