"""Checkpoint -> model: labels, new layers named, frozen parts, adapters; and the best one kept."""

from hf_finetune.model.build import build_model
from hf_finetune.model.changed_config import trying_changes
from hf_finetune.model.counting import count_parameters, describe_share
from hf_finetune.model.keeping import load_model, save_model

__all__ = ["build_model", "count_parameters", "describe_share", "load_model", "save_model", "trying_changes"]
