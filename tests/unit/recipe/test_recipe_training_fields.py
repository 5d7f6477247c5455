"""What is read from the source of TrainingArguments, against the class itself."""

from __future__ import annotations

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from transformers import Seq2SeqTrainingArguments, TrainingArguments
from transformers.integrations import integration_utils
from transformers.training_args import OptimizerNames, trainer_log_levels

from hf_finetune.arguments import fill_defaults
from hf_finetune.recipe import Recipe
from hf_finetune.recipe.training_checks import check_training
from hf_finetune.recipe.training_combinations import own_defaults
from hf_finetune.recipe.training_fields import known_trackers, training_fields
from hf_finetune.recipe.training_rules import CHOICES, OTHER_NAMES, REMOVED, RENAMED, RULES, UNUSABLE

FIELDS = training_fields()


def test_no_field_is_missed_and_none_is_invented() -> None:
    assert set(FIELDS) == {f.name for f in dataclasses.fields(Seq2SeqTrainingArguments) if f.init}


def test_defaults_are_those_of_the_class() -> None:
    for field in dataclasses.fields(Seq2SeqTrainingArguments):
        if isinstance(field.default, str | int | float) and field.name != "optim":  # optim depends on torch
            assert FIELDS[field.name].default == field.default, field.name


def test_every_field_has_a_kind_and_takes_its_default() -> None:
    for field in dataclasses.fields(Seq2SeqTrainingArguments):
        if field.name in UNUSABLE or field.default is dataclasses.MISSING:
            continue
        assert FIELDS[field.name].kinds, field.name
        assert not check_training({field.name: field.default}, metrics=None), field.name


def test_choices_are_those_of_the_enums() -> None:
    arguments = TrainingArguments(use_cpu=True)
    for name, field in FIELDS.items():
        value = getattr(arguments, name, None)
        if isinstance(value, Enum):
            assert field.choices == tuple(choice.value for choice in type(value)), name
    assert FIELDS["optim"].choices == tuple(choice.value for choice in OptimizerNames)
    assert CHOICES["log_level"] == CHOICES["log_level_replica"] == tuple(trainer_log_levels)
    assert known_trackers() == tuple(integration_utils.INTEGRATION_TO_CALLBACK)


def test_the_tables_name_fields_that_are_there_and_names_that_are_gone() -> None:
    assert not set(RULES) - set(FIELDS)
    assert not set(CHOICES) - set(FIELDS)
    assert not set(UNUSABLE) - set(FIELDS)
    assert not set(RENAMED.values()) - set(FIELDS)
    assert not set(OTHER_NAMES.values()) - set(FIELDS)
    assert not (set(RENAMED) | set(REMOVED) | set(OTHER_NAMES)) & set(FIELDS)
    assert not set(RENAMED) & set(REMOVED)


def is_refused_here(values: dict[str, Any]) -> bool:
    return bool(check_training(values, metrics=None))


def is_refused_there(values: dict[str, Any], folder: Path) -> bool:
    try:
        TrainingArguments(**{"output_dir": str(folder), "use_cpu": True, **own_defaults(values), **values})
    except (ValueError, TypeError):
        return True
    return False


@pytest.mark.parametrize(
    "values",
    [
        {"eval_strategy": "sometimes"},
        {"lr_scheduler_type": "cosin"},
        {"optim": "adamw"},
        {"hub_strategy": "never"},
        {"debug": "everything"},
        {"warmup_steps": -1},
        {"torch_empty_cache_steps": 0},
        {"eval_strategy": "no", "load_best_model_at_end": True},
        {"eval_strategy": "epoch", "save_strategy": "steps", "load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 4, "save_steps": 6, "load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 6, "load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 0.2, "save_steps": 0.3, "load_best_model_at_end": True},
        {"eval_strategy": "steps", "save_steps": 500, "load_best_model_at_end": True},
        {"logging_steps": 0},
        {"logging_steps": 2.5},
        {"eval_strategy": "steps", "eval_steps": 2.5},
        {"save_strategy": "steps", "save_steps": 2.5},
        {"fp16_full_eval": True, "bf16_full_eval": True},
        {"fp16": True, "bf16": True},
        {"eval_strategy": "no", "lr_scheduler_type": "reduce_lr_on_plateau"},
        {"eval_strategy": "no", "lr_scheduler_type": "greedy"},
        {"dataloader_prefetch_factor": 2},
    ],
)
def test_what_transformers_refuses_is_refused_before(values: dict[str, Any], tmp_path: Path) -> None:
    assert is_refused_there(values, tmp_path)
    assert is_refused_here(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"save_strategy": "best", "load_best_model_at_end": True},
        {"load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 4, "load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 4, "save_steps": 8, "load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.3, "load_best_model_at_end": True},
        {"eval_strategy": "no"},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        {"warmup_steps": 0.1, "logging_steps": 1, "num_train_epochs": 0.5},
        {"dataloader_prefetch_factor": 2, "dataloader_num_workers": 2},
        {"debug": "underflow_overflow", "include_num_input_tokens_seen": True, "report_to": "none"},
        {"lr_scheduler_kwargs": '{"min_lr": 0.1}', "accelerator_config": {"even_batches": False}},
        {"log_level": "warning", "max_steps": 3, "label_names": ["labels"]},
    ],
)
def test_what_transformers_takes_is_taken(values: dict[str, Any], tmp_path: Path) -> None:
    assert not is_refused_here(values)
    assert not is_refused_there(values, tmp_path)


@pytest.mark.parametrize(
    "training",
    [{}, {"eval_strategy": "no"}, {"eval_strategy": "steps"}, {"eval_strategy": "steps", "eval_steps": 7}],
)
def test_defaults_here_are_those_a_run_fills_in(training: dict[str, Any]) -> None:
    recipe = Recipe(task="t", model={"checkpoint": "m"}, data={"path": "p"}, training=training)
    filled = fill_defaults(recipe)
    assert {name: filled[name] for name in own_defaults(training)} == own_defaults(training)
    assert ("save_steps" in filled) == ("save_steps" in own_defaults(training))
    assert not is_refused_here(filled)
