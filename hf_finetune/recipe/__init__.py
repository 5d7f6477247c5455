"""Recipes: YAML -> one frozen, checked value. No torch, no transformers, no network."""

from hf_finetune.recipe.hub_spec import HubSpec
from hf_finetune.recipe.load import NO_SWEEP, load_recipe
from hf_finetune.recipe.model_spec import ModelSpec, PeftSpec
from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.remarks import list_remarks
from hf_finetune.recipe.schema import json_schema
from hf_finetune.recipe.specs import (
    DataSpec,
    EarlyStoppingSpec,
    GuardSpec,
    NamedSpec,
    SpaceSpec,
    SplitsSpec,
    SweepSpec,
    TaskSpec,
)
from hf_finetune.recipe.task_options import AudioClassificationOptions, SpeechRecognitionOptions
from hf_finetune.recipe.tracking_spec import CometSpec, TrackingSpec
from hf_finetune.recipe.training_combinations import own_defaults
from hf_finetune.recipe.user_code import import_user_files, list_imports

__all__ = [
    "NO_SWEEP",
    "AudioClassificationOptions",
    "CometSpec",
    "DataSpec",
    "EarlyStoppingSpec",
    "GuardSpec",
    "HubSpec",
    "ModelSpec",
    "NamedSpec",
    "PeftSpec",
    "Recipe",
    "SpaceSpec",
    "SpeechRecognitionOptions",
    "SplitsSpec",
    "SweepSpec",
    "TaskSpec",
    "TrackingSpec",
    "import_user_files",
    "json_schema",
    "list_imports",
    "list_remarks",
    "load_recipe",
    "own_defaults",
]
