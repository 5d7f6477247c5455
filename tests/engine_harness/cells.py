"""The cells of the matrix: a task and what is asked of the engines. Names are what tests and tables show."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

EVERY_FIVE = {
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "logging_steps": 1,
    "eval_steps": 5,
    "save_steps": 5,
}
PER_EPOCH = {"eval_strategy": "epoch", "save_strategy": "epoch", "logging_strategy": "epoch"}
BEST = {"metric_for_best_model": "accuracy", "greater_is_better": True, "load_best_model_at_end": True}
BY_LOSS = {"metric_for_best_model": "loss", "greater_is_better": False}

SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"lr_scheduler_type": "linear", "warmup_steps": 3},
    "cosine": {"lr_scheduler_type": "cosine", "warmup_steps": 0.1},
    "step": {
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 2,
        "lr_scheduler_kwargs": {"step_size": 4, "gamma": 0.5},
    },
    "plateau": {
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"patience": 0},
        **BY_LOSS,
    },
}


@dataclass(frozen=True)
class Cell:
    """One combination.

    Args:
        name: Unique.
        task: Of `tasks.TASKS`, or of `recipes.RECIPES`.
        args: Overrides of TrainingArguments.
        stop: The update after whose save the run is stopped and resumed; 0 for no resume.
        lora: Whether only adapters are trained.
        peft: Method of PEFT and its options, in place of `lora`.
        noise: Augmentation of the training rows; 0 for none.
        kind: "rows" or "stream".
        patience: Of early stopping; None for none.
        leaves: Resume a run that a signal has ended within the evaluation at `stop`, in its second set.
        is_slow: Only in the full matrix.
    """

    name: str
    task: str = "images"
    args: dict[str, Any] = field(default_factory=dict)
    stop: int = 5
    lora: bool = False
    peft: dict[str, Any] = field(default_factory=dict)
    noise: float = 0.05
    kind: str = "rows"
    patience: int | None = None
    leaves: bool = False
    is_slow: bool = False


ADALORA = {"method": "adalora", "init_r": 6, "target_r": 3, "tinit": 2, "deltaT": 2, "lora_dropout": 0.1}

BATCH = {"images": 12, "text": 10, "speech": 6}
"""Rows of a round: 17, 16 and 11 rounds an epoch, the last one short; windows of 3 end short, too."""


def _matrix() -> list[Cell]:
    """Return tasks x schedules x accumulation x full/LoRA x workers; a sixth of it is not slow."""
    found = []
    for (t, task), (s, schedule) in product(enumerate(BATCH), enumerate(SCHEDULES)):
        chosen = ((t + s // 2) % 2, (t + s // 2 + s) % 2, (t + s + t * s) % 2)
        for levels in product((0, 1), repeat=3):
            accumulation, lora, workers = 1 + 2 * levels[0], bool(levels[1]), 2 * levels[2]
            args = {
                **EVERY_FIVE,
                **SCHEDULES[schedule],
                "gradient_accumulation_steps": accumulation,
                "dataloader_num_workers": workers,
                "max_steps": 13 if accumulation == 3 else 26,
            }
            if accumulation == 3:
                args |= {"eval_steps": 2, "save_steps": 2}
            opposite = tuple(1 - level for level in chosen)
            is_slow = levels != chosen and not (levels == opposite and t == s % 3)
            name = f"{task}-{schedule}-G{accumulation}-{'lora' if lora else 'full'}-w{workers}"
            stop = 4 if accumulation == 3 else 20
            found.append(Cell(name, task, args, stop=stop, lora=lora, is_slow=is_slow))
    return found


def _special() -> list[Cell]:
    accumulate = {"gradient_accumulation_steps": 3}
    even = {"eval_steps": 2, "save_steps": 2}
    early = {**PER_EPOCH, **BEST, "num_train_epochs": 4}
    return [
        Cell("epoch-end-saves", args={**PER_EPOCH, **BEST}, stop=17),
        Cell(
            "save-at-epoch-end-then-evaluate",
            args={**PER_EPOCH, "save_strategy": "steps", "save_steps": 17},
            stop=17,
        ),
        Cell(
            "save-in-an-epoch-evaluate-at-its-end",
            args={**PER_EPOCH, "save_strategy": "steps", "save_steps": 7},
            stop=21,
        ),
        Cell("best-only", args={**EVERY_FIVE, "save_strategy": "best", **BY_LOSS}, stop=10),
        Cell("limit-1-best", args={**PER_EPOCH, **BEST, "save_total_limit": 1}, stop=17),
        Cell(
            "limit-2-best-by-loss",
            args={**EVERY_FIVE, **BY_LOSS, "load_best_model_at_end": True, "save_total_limit": 2},
            stop=10,
        ),
        Cell("early-stopping", args=early, stop=17, patience=1),
        Cell("early-stopping-patience-2", args=early, stop=34, patience=2),
        Cell("bf16", args={**EVERY_FIVE, "bf16": True, **accumulate, **even}, stop=4),
        Cell("activation-checkpointing", args={**EVERY_FIVE, "activation_checkpointing": True}, stop=10),
        Cell(
            "bf16-activation-checkpointing",
            "text",
            {**EVERY_FIVE, **even, "bf16": True, "activation_checkpointing": True, **accumulate},
            stop=4,
        ),
        Cell(
            "persistent-workers",
            args={**EVERY_FIVE, "dataloader_num_workers": 2, "dataloader_persistent_workers": True},
            stop=20,
        ),
        Cell(
            "group-by-length", "text", {**EVERY_FIVE, "train_sampling_strategy": "group_by_length"}, stop=20
        ),
        Cell(
            "group-by-length-speech",
            "speech",
            {**EVERY_FIVE, "train_sampling_strategy": "group_by_length", **accumulate, **even},
            stop=4,
        ),
        Cell(
            "batch-rebalance",
            "text",
            {**EVERY_FIVE, "train_sampling_strategy": "batch_rebalance", **accumulate, **even},
            stop=4,
        ),
        Cell(
            "sequential-drop-last",
            args={**EVERY_FIVE, "train_sampling_strategy": "sequential", "dataloader_drop_last": True},
            stop=20,
        ),
        Cell("stream", args={**EVERY_FIVE, "max_steps": 14, **accumulate, **even}, stop=8, kind="stream"),
        Cell(
            "stream-one-worker",
            args={**EVERY_FIVE, "max_steps": 22, "dataloader_num_workers": 1},
            stop=20,
            kind="stream",
        ),
        Cell("left-in-evaluation", args={**EVERY_FIVE, "max_steps": 13}, stop=10, leaves=True),
        Cell("speech-spec-augment", "speech", {**EVERY_FIVE, **accumulate, **even}, stop=6),
        Cell("tokens-all", "text", {**EVERY_FIVE, "include_num_input_tokens_seen": "all"}, stop=10),
        Cell(
            "tokens-non-padding",
            "text",
            {**EVERY_FIVE, "include_num_input_tokens_seen": "non_padding", **accumulate, **even},
            stop=4,
        ),
        Cell("max-steps-in-mid-epoch", args={**EVERY_FIVE, "max_steps": 23}, stop=20),
        Cell("fractional-epochs", args={**EVERY_FIVE, "num_train_epochs": 1.4}, stop=20),
        Cell(
            "fractional-steps",
            args={**EVERY_FIVE, "eval_steps": 0.2, "save_steps": 0.2, "logging_steps": 0.1},
            stop=14,
        ),
        Cell("log-every-3-save-every-5", args={**EVERY_FIVE, "logging_steps": 3}, stop=10),
        Cell("data-seed", args={**EVERY_FIVE, "seed": 5, "data_seed": 7}, stop=10),
        Cell("full-determinism", args={**EVERY_FIVE, "full_determinism": True}, stop=10),
        Cell("no-clipping", args={**EVERY_FIVE, "max_grad_norm": 0.0}, stop=10),
        Cell(
            "tight-clipping-decay", args={**EVERY_FIVE, "max_grad_norm": 0.05, "weight_decay": 0.1}, stop=10
        ),
        Cell("sgd", args={**EVERY_FIVE, "optim": "sgd", "learning_rate": 0.05}, stop=10),
        Cell(
            "sgd-momentum",
            args={**EVERY_FIVE, "optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.05},
            stop=10,
        ),
        Cell("adamw-unfused", args={**EVERY_FIVE, "optim": "adamw_torch", "adam_beta2": 0.95}, stop=10),
        Cell("adafactor", args={**EVERY_FIVE, "optim": "adafactor"}, stop=10),
        Cell("adagrad", args={**EVERY_FIVE, "optim": "adagrad"}, stop=10, is_slow=True),
        Cell("rmsprop", args={**EVERY_FIVE, "optim": "rmsprop"}, stop=10, is_slow=True),
        Cell("greedy", args={**EVERY_FIVE, "lr_scheduler_type": "greedy", **BY_LOSS}, stop=10),
        Cell(
            "warmup-stable-decay",
            args={
                **EVERY_FIVE,
                "lr_scheduler_type": "warmup_stable_decay",
                "warmup_steps": 4,
                "lr_scheduler_kwargs": {"num_decay_steps": 10},
            },
            stop=10,
            is_slow=True,
        ),
        Cell(
            "cosine-restarts",
            args={
                **EVERY_FIVE,
                "lr_scheduler_type": "cosine_with_restarts",
                "lr_scheduler_kwargs": {"num_cycles": 2},
            },
            stop=10,
            is_slow=True,
        ),
        Cell(
            "polynomial",
            args={**EVERY_FIVE, "lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 2.0}},
            stop=10,
            is_slow=True,
        ),
        Cell(
            "inverse-sqrt",
            args={**EVERY_FIVE, "lr_scheduler_type": "inverse_sqrt", "warmup_steps": 4},
            stop=10,
            is_slow=True,
        ),
        Cell(
            "cosine-min-lr",
            args={
                **EVERY_FIVE,
                "lr_scheduler_type": "cosine_with_min_lr",
                "lr_scheduler_kwargs": {"min_lr": 1e-4},
            },
            stop=10,
            is_slow=True,
        ),
        Cell(
            "milestones",
            args={
                **EVERY_FIVE,
                "lr_scheduler_type": "constant",
                "lr_scheduler_kwargs": {"milestones": [6, 12]},
            },
            stop=10,
        ),
        Cell("constant", args={**EVERY_FIVE, "lr_scheduler_type": "constant"}, stop=10, is_slow=True),
        Cell(
            "eval-delay-start-first-log",
            args={
                **EVERY_FIVE,
                "eval_on_start": True,
                "eval_delay": 6,
                "logging_steps": 4,
                "logging_first_step": True,
            },
            stop=10,
        ),
        Cell("loss-only", args={**EVERY_FIVE, "prediction_loss_only": True}, stop=10, is_slow=True),
        Cell(
            "per-process-mean",
            args={**EVERY_FIVE, "average_tokens_across_devices": False, **accumulate, **even},
            stop=4,
        ),
        Cell(
            "constant-with-warmup",
            args={**EVERY_FIVE, "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.2},
            stop=5,
            is_slow=True,
        ),
        Cell(
            "cosine-warmup-min-lr",
            args={
                **EVERY_FIVE,
                "lr_scheduler_type": "cosine_warmup_with_min_lr",
                "warmup_steps": 6,
                "lr_scheduler_kwargs": {"min_lr": 1e-4, "warmup_lr_rate": 0.1},
            },
            stop=5,
            is_slow=True,
        ),
        Cell(
            "plateau-by-accuracy",
            args={
                **EVERY_FIVE,
                **BEST,
                "lr_scheduler_type": "reduce_lr_on_plateau",
                "lr_scheduler_kwargs": {"patience": 1, "factor": 0.3},
            },
            stop=20,
        ),
        Cell(
            "activation-checkpointing-some-layers",
            "text",
            {
                **EVERY_FIVE,
                "activation_checkpointing": True,
                "activation_checkpointing_kwargs": {"use_reentrant": False, "every_n_layers": 2},
            },
            stop=10,
            is_slow=True,
        ),
        Cell(
            "torch-compile",
            args={**EVERY_FIVE, "torch_compile": True, "torch_compile_backend": "aot_eager", "max_steps": 8},
            stop=5,
            is_slow=True,
        ),
        Cell(
            "adam-numbers",
            args={**EVERY_FIVE, "adam_beta1": 0.8, "adam_epsilon": 1e-5, "weight_decay": 0.02},
            stop=10,
            is_slow=True,
        ),
        Cell(
            "ddp-options",
            args={
                **EVERY_FIVE,
                "ddp_find_unused_parameters": True,
                "ddp_broadcast_buffers": True,
                "ddp_bucket_cap_mb": 1,
                "ddp_timeout": 600,
            },
            stop=10,
        ),
        Cell(
            "what-moves-no-number",
            args={
                **EVERY_FIVE,
                "torch_empty_cache_steps": 2,
                "use_cache": True,
                "log_level_replica": "error",
                "log_on_each_node": False,
                "dataloader_num_workers": 1,
                "dataloader_prefetch_factor": 1,
                "dataloader_multiprocessing_context": "fork",
            },
            stop=10,
            is_slow=True,
        ),
        Cell(
            "nothing-logged-scored-saved",
            args={"logging_strategy": "no", "eval_strategy": "no", "save_strategy": "no", "max_steps": 9},
            stop=0,
            is_slow=True,
        ),
        Cell("save-only-model", args={**EVERY_FIVE, "save_only_model": True}, stop=0),
        Cell("lora-best", "text", {**PER_EPOCH, **BEST}, stop=16, lora=True),
        Cell("dora", "text", {**EVERY_FIVE}, stop=10, peft={"method": "lora", "use_dora": True}),
        Cell("rslora", args={**EVERY_FIVE}, stop=10, peft={"method": "lora", "use_rslora": True}),
        Cell("ia3", "speech", {**EVERY_FIVE}, stop=10, peft={"method": "ia3"}),
        Cell("adalora", args={**EVERY_FIVE, **accumulate, **even}, stop=4, peft=ADALORA),
        Cell(
            "adalora-after-the-last-allocation",
            "text",
            {**EVERY_FIVE, **BY_LOSS, "load_best_model_at_end": True},
            stop=30,
            peft={**ADALORA, "tfinal": 8},
        ),
        Cell("adalora-layer-drop", "speech", {**EVERY_FIVE}, stop=10, peft=ADALORA),
        Cell(
            "lora-activation-checkpointing",
            "text",
            {**EVERY_FIVE, **even, "activation_checkpointing": True, **accumulate},
            stop=4,
            lora=True,
        ),
        Cell(
            "lora-activation-checkpointing-reentrant",
            args={
                **EVERY_FIVE,
                **even,
                **accumulate,
                "activation_checkpointing": True,
                "activation_checkpointing_kwargs": {"use_reentrant": True},
            },
            stop=4,
            lora=True,
        ),
        Cell("ignore-data-skip", args={**EVERY_FIVE, "ignore_data_skip": True}, stop=0, is_slow=True),
    ]


def _sounds() -> list[Cell]:
    """Return the project's own audio classification, from its recipe and its data set."""
    even = {**EVERY_FIVE, "gradient_accumulation_steps": 3, "eval_steps": 2, "save_steps": 2, "max_steps": 8}
    grouped = {"train_sampling_strategy": "group_by_length"}
    name = "audio-classification"
    return [
        Cell(name, name, {**even, "train_sampling_strategy": "random"}, stop=4),
        Cell(f"{name}-grouped-w2", name, {**even, **grouped, "dataloader_num_workers": 2}, stop=6),
        Cell(f"{name}-lora-best", name, {**PER_EPOCH, **BEST, "num_train_epochs": 2}, stop=17, lora=True),
        Cell(f"{name}-whisper", f"{name}-whisper", {**even, **grouped}, stop=4),
    ]


def _recognition() -> list[Cell]:
    """Return speech recognition as the project does it: SpecAugment on, and text written in evaluations."""
    by_wer = {**EVERY_FIVE, "metric_for_best_model": "wer", "greater_is_better": False}
    accumulate = {"gradient_accumulation_steps": 3, "eval_steps": 2, "save_steps": 2, "max_steps": 8}
    grouped = {"train_sampling_strategy": "group_by_length", "dataloader_num_workers": 2}
    best = {**PER_EPOCH, "metric_for_best_model": "wer", "greater_is_better": False}
    return [
        Cell("ctc", "ctc", {**by_wer, **accumulate}, stop=4),
        Cell("ctc-grouped-w2", "ctc", {**by_wer, **accumulate, **grouped}, stop=6),
        Cell("ctc-lora-best", "ctc", {**best, "load_best_model_at_end": True}, stop=10, lora=True),
        Cell("ctc-bf16", "ctc", {**by_wer, **accumulate, "bf16": True}, stop=4),
        Cell("seq2seq", "seq2seq", {**by_wer, **accumulate}, stop=4),
        Cell("seq2seq-grouped-w2", "seq2seq", {**by_wer, **accumulate, **grouped}, stop=6),
        Cell("seq2seq-best", "seq2seq", {**best, "load_best_model_at_end": True}, stop=10),
        Cell("seq2seq-bf16", "seq2seq", {**by_wer, **accumulate, "bf16": True}, stop=4),
    ]


CELLS = {cell.name: cell for cell in [*_special(), *_sounds(), *_recognition(), *_matrix()]}
