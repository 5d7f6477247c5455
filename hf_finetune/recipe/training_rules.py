"""What TrainingArguments' annotations do not say: ranges, choices, and names that are gone.

The tables of names were made by comparing the fields of transformers 3.5, 4.9, 4.28, 4.46, 4.57 and 5.0 with
those of 5.23; the tests hold them against the installed class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["CHOICES", "OTHER_NAMES", "REMOVED", "RENAMED", "RULES", "UNUSABLE", "UNUSABLE_VALUES", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a number must be.

    Args:
        text: In words, after "a number" or "a whole number".
        accepts: Tells whether a number will do.
        schema: The same in JSON schema's words.
        is_whole: Say "a whole number" although the annotation is float.
    """

    text: str
    accepts: Callable[[float], bool]
    schema: dict[str, Any]
    is_whole: bool = False


def _at_least(low: int) -> Rule:
    return Rule(f"of {low} or more", lambda x: x >= low, {"minimum": low})


_ABOVE_0 = Rule("above 0", lambda x: x > 0, {"exclusiveMinimum": 0})
_FROM_0_TO_1 = Rule("from 0 to 1", lambda x: 0 <= x <= 1, {"minimum": 0, "maximum": 1})
_DECAY = Rule(
    "from 0 up to, but not including, 1", lambda x: 0 <= x < 1, {"minimum": 0, "exclusiveMaximum": 1}
)
_SEED = Rule("from 0 to 4294967295", lambda x: 0 <= x < 2**32, {"minimum": 0, "maximum": 2**32 - 1})
_MAX_STEPS = Rule(
    "of 1 or more, or -1 for num_train_epochs to decide", lambda x: x == -1 or x >= 1, {"minimum": -1}
)
_EVERY = Rule(
    "of 1 or more, or a share of all updates between 0 and 1",
    lambda x: 0 < x < 1 or (x >= 1 and math.floor(x) == x),
    {"exclusiveMinimum": 0},
    is_whole=True,
)
_WARMUP = Rule(
    "of updates, or a share of all updates from 0 up to 1",
    lambda x: 0 <= x < 1 or (x >= 1 and math.floor(x) == x),
    {"minimum": 0},
    is_whole=True,
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(
        [
            "per_device_train_batch_size",
            "per_device_eval_batch_size",
            "gradient_accumulation_steps",
            "eval_accumulation_steps",
            "torch_empty_cache_steps",
            "dataloader_prefetch_factor",
            "save_total_limit",
            "ddp_bucket_cap_mb",
            "ddp_timeout",
            "generation_max_length",
            "generation_num_beams",
        ],
        _at_least(1),
    ),
    **dict.fromkeys(
        [
            "learning_rate",
            "weight_decay",
            "adam_epsilon",
            "max_grad_norm",
            "eval_delay",
            "neftune_noise_alpha",
            "dataloader_num_workers",
        ],
        _at_least(0),
    ),
    **dict.fromkeys(["logging_steps", "eval_steps", "save_steps"], _EVERY),
    "num_train_epochs": _ABOVE_0,
    "max_steps": _MAX_STEPS,
    "warmup_steps": _WARMUP,
    "adam_beta1": _DECAY,
    "adam_beta2": _DECAY,
    "label_smoothing_factor": _FROM_0_TO_1,
    "seed": _SEED,
    "data_seed": _SEED,
}

CHOICES: dict[str, tuple[str, ...]] = {
    "log_level": ("detail", "debug", "info", "warning", "error", "critical", "passive"),
    "log_level_replica": ("detail", "debug", "info", "warning", "error", "critical", "passive"),
    "include_num_input_tokens_seen": ("all", "non_padding", "no"),
}
"""Choices that are not written as such in the source of TrainingArguments."""

RENAMED: dict[str, str] = {
    # the old name: the new one, for the same value
    "evaluation_strategy": "eval_strategy",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "no_cuda": "use_cpu",
    "torchdynamo": "torch_compile_backend",
    "xpu_backend": "ddp_backend",
}

_AUTH = "Run `hf auth login` or set HF_TOKEN."
_PRECISION = "Remove it; fp16: true or bf16: true is enough."
_COMPILE = "Remove it; torch_compile: true is the way to a faster model."
_DEALT = "Remove it: the engines deal out the rows."
_SHARDED = "Remove it: every process holds the whole model."

REMOVED: dict[str, str] = {
    # the old name: what to do instead
    "adafactor": "Write optim: adafactor.",
    "dispatch_batches": _DEALT,
    "evaluate_during_training": "Write eval_strategy: steps.",
    "fp16_backend": _PRECISION,
    "fp16_opt_level": _PRECISION,
    "fsdp_min_num_params": _SHARDED,
    "fsdp_transformer_layer_cls_to_wrap": _SHARDED,
    "group_by_length": "Write train_sampling_strategy: group_by_length.",
    "half_precision_backend": _PRECISION,
    "include_inputs_for_metrics": "Remove it: a metric is given predictions and labels.",
    "include_tokens_per_second": "Write include_num_input_tokens_seen: all.",
    "jit_mode_eval": _COMPILE,
    "logging_dir": "Remove it; TensorBoard reads the environment variable TENSORBOARD_LOGGING_DIR.",
    "mp_parameters": "Remove it: it was for SageMaker's launcher.",
    "overwrite_output_dir": "Remove it, and use `hf-finetune run RECIPE --overwrite`.",
    "past_index": "Remove it.",
    "push_to_hub_model_id": "Write hub: {repo_id: owner/name}.",
    "push_to_hub_organization": "Write hub: {repo_id: organization/name}.",
    "push_to_hub_token": _AUTH,
    "ray_scope": "Remove it.",
    "save_safetensors": "Remove it: weights are always saved as safetensors.",
    "sharded_ddp": _SHARDED,
    "split_batches": _DEALT,
    "tpu_metrics_debug": "Write debug: tpu_metrics_debug.",
    "tpu_num_cores": "Remove it: the launcher decides it.",
    "use_ipex": _COMPILE,
    "use_legacy_prediction_loop": "Remove it.",
    "use_mps_device": "Remove it: Apple's GPU is used when it is there, unless use_cpu is true.",
    "warmup_ratio": "Write warmup_steps: below 1 it is a share of all updates.",
}

_PUSH = "pushing is set up under hub, for either engine"

UNUSABLE: dict[str, tuple[str, str]] = {
    "push_to_hub": (_PUSH, "Write hub: {repo_id: owner/name} and leave it out here."),
    "hub_model_id": (_PUSH, "Write hub: {repo_id: owner/name} and leave it out here."),
    "hub_strategy": (_PUSH, "Write hub: {strategy: ...} and leave it out here."),
    "hub_private_repo": (_PUSH, "Write hub: {private: ...} and leave it out here."),
    "hub_revision": (_PUSH, "Write hub: {branch: ...} and leave it out here."),
    "hub_always_push": ("a push that is still going on is never doubled", "Remove it."),
    "hub_token": ("a secret does not belong in a recipe", _AUTH),
    "resume_from_checkpoint": ("not read from a recipe", "Use `hf-finetune run RECIPE --resume`."),
    "do_train": ("a flag of transformers' example scripts, read by nothing", "Remove it."),
    "do_eval": ("a flag of transformers' example scripts, read by nothing", "Remove it; see eval_strategy."),
    "do_predict": ("a flag of transformers' example scripts, read by nothing", "Remove it."),
    "local_rank": ("set by the launcher", "Remove it."),
    "fsdp": ("sharded training is not supported", _SHARDED),
    "fsdp_config": ("sharded training is not supported", _SHARDED),
    "deepspeed": ("DeepSpeed is not supported", _SHARDED),
    "parallelism_config": ("a Python object that no recipe can hold", "Remove it."),
}
"""Fields that exist and make no sense in a recipe."""

OTHER_NAMES: dict[str, str] = {
    # what other tools call it: what TrainingArguments calls it
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "max_epochs": "num_train_epochs",
    "steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "optimizer": "optim",
    "scheduler": "lr_scheduler_type",
    "lr_scheduler": "lr_scheduler_type",
    "warmup": "warmup_steps",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "eps": "adam_epsilon",
    "gradient_clip": "max_grad_norm",
    "grad_clip": "max_grad_norm",
    "gradient_clip_val": "max_grad_norm",
    "clip_grad_norm": "max_grad_norm",
    "accumulate_grad_batches": "gradient_accumulation_steps",
    "grad_accum": "gradient_accumulation_steps",
    "label_smoothing": "label_smoothing_factor",
    "num_workers": "dataloader_num_workers",
    "random_seed": "seed",
    "best_metric": "metric_for_best_model",
    "amp": "fp16",
    "mixed_precision": "bf16",
}

_COMET = (
    "Comet is set up under tracking",
    "Write tracking: {comet: {project: NAME}} and leave it out here.",
)

UNUSABLE_VALUES: dict[tuple[str, Any], tuple[str, str]] = {
    ("report_to", "all"): (
        "which trackers that is would depend on what is installed",
        "Name them, as in [tensorboard, wandb].",
    ),
    ("report_to", "comet"): _COMET,
    ("report_to", "comet_ml"): _COMET,
}
"""Single values that a recipe does not take, although TrainingArguments may: why, and what to do."""
