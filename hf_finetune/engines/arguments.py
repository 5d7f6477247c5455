"""What becomes of every field of `TrainingArguments` and `Seq2SeqTrainingArguments`.

Each is done alike by both engines, or refused with a reason.

None is silently ignored. tests/unit/engines/test_arguments.py goes over the fields of the installed class: a
field that a new version brings makes it fail until it has its place here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainingArguments

from hf_finetune.errors import UserError
from hf_finetune.optim import explain_missing_optimizer, explain_wrong_schedule, list_unread

__all__ = ["check_arguments", "require_arguments"]

HONOURED = frozenset(
    """
    output_dir per_device_train_batch_size num_train_epochs max_steps learning_rate lr_scheduler_type
    lr_scheduler_kwargs warmup_steps optim optim_args weight_decay adam_beta1 adam_beta2 adam_epsilon
    optim_target_modules gradient_accumulation_steps average_tokens_across_devices max_grad_norm
    bf16 fp16 tf32 activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing
    gradient_checkpointing_kwargs torch_compile torch_compile_backend torch_compile_mode use_cache
    torch_empty_cache_steps auto_find_batch_size logging_strategy logging_steps logging_first_step
    include_num_input_tokens_seen log_level log_level_replica log_on_each_node disable_tqdm report_to
    eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start
    save_only_model save_strategy save_steps save_total_limit load_best_model_at_end metric_for_best_model
    greater_is_better ignore_data_skip full_determinism seed data_seed use_cpu accelerator_config
    dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order
    train_sampling_strategy length_column_name ddp_find_unused_parameters ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout predict_with_generate
    generation_max_length generation_num_beams generation_config
    """.split()  # noqa: SIM905 - a word each is easier to read than sixty lines
)
"""Both engines do the same with them; the parity cells hold the ones that touch numbers. Those of generation
are for the task whose `reduce` lets the model write."""

ALWAYS_SO = {
    "label_smoothing_factor": "the loss does it: whoever builds the loss reads the factor",
    "logging_nan_inf_filter": "a NaN is always shown",
    "restore_callback_states_from_checkpoint": "callbacks are always restored",
    "remove_unused_columns": "the collator gives the model exactly what it takes",
    "eval_accumulation_steps": "an evaluation never holds more than one batch",
    "batch_eval_metrics": "metrics are always fed batch by batch",
    "eval_do_concat_batches": "nothing is concatenated",
    "eval_use_gather_object": "what metrics take are tensors",
}
"""Whatever they say, what they are for is the case (or is somebody else's, as said)."""

OF_OTHERS = frozenset(
    """
    run_name project trackio_space_id trackio_bucket_id trackio_static_space_id hub_token hub_private_repo
    hub_model_id hub_strategy hub_always_push hub_revision do_train do_eval do_predict resume_from_checkpoint
    local_rank liger_kernel_config fsdp_config
    """.split()  # noqa: SIM905 - a word each is easier to read than sixty lines
)
"""Read by trackers, by scripts, or only together with a field below."""

Rule = tuple[Callable[[Any], bool], str]

REFUSED: dict[str, Rule] = {
    "bf16_full_eval": (bool, "an evaluation runs in the precision of training; leave it out"),
    "fp16_full_eval": (bool, "an evaluation runs in the precision of training; leave it out"),
    "include_for_metrics": (bool, "metrics take what the task's reduce gives them; leave it out"),
    "label_names": (lambda value: value not in (None, ["labels"]), "the collator calls the targets 'labels'"),
    "enable_jit_checkpoint": (bool, "SIGTERM always leads to a checkpoint; leave it out"),
    "save_on_each_node": (bool, "the first process of all writes; put output_dir on a disk all nodes share"),
    "fsdp": (bool, "sharded training is not supported; leave it out"),
    "deepspeed": (bool, "DeepSpeed is not supported; leave it out"),
    "sortish_sampler": (bool, "no data set has it any more; use train_sampling_strategy = group_by_length"),
    "parallelism_config": (bool, "only data parallelism is supported; leave it out"),
    "push_to_hub": (bool, "it pushes what is last; `hub.repo_id` of a recipe pushes the best, leave it out"),
}
"""No engine does them."""

ONLY_TRAINER: dict[str, Rule] = {
    "use_liger_kernel": (bool, ""),
    "neftune_noise_alpha": (lambda value: value is not None, ""),
    "debug": (bool, ""),
    "skip_memory_metrics": (lambda value: not value, ""),
}
"""`Trainer` does them; the loop would be longer and no clearer."""


def check_arguments(args: TrainingArguments, engine: str) -> list[str]:
    """Return what an engine cannot do, a sentence each; nothing when it honours everything.

    A sentence begins with the name of its field.

    Args:
        args: All fields are looked at.
        engine: As the recipe says it; one of the user's own answers for itself.

    Example:
        >>> check_arguments(TrainingArguments(neftune_noise_alpha=5.0, use_cpu=True), "accelerate")
        ['neftune_noise_alpha = 5.0 is not done by engine: accelerate; use engine: trainer']
    """
    problems = [
        f"{name} = {getattr(args, name)!r}: {why}"
        for name, (is_asked, why) in REFUSED.items()
        if hasattr(args, name) and is_asked(getattr(args, name))
    ]
    problems += _check_combinations(args)
    if engine == "accelerate":
        problems += [
            f"{name} = {getattr(args, name)!r} is not done by engine: {engine}; use engine: trainer{more}"
            for name, (is_asked, more) in ONLY_TRAINER.items()
            if is_asked(getattr(args, name))
        ]
    return problems


def _check_combinations(args: TrainingArguments) -> list[str]:
    problems = []
    config = args.accelerator_config
    for name, usual in {
        "split_batches": False,
        "dispatch_batches": None,
        "even_batches": True,
        "use_seedable_sampler": True,
        "gradient_accumulation_kwargs": None,
    }.items():
        if getattr(config, name) != usual:
            problems.append(
                f"accelerator_config.{name}: rows are dealt out here, not by Accelerate; leave it out"
            )
    optimizer = str(getattr(args.optim, "value", args.optim))
    if "lomo" in optimizer or "layerwise" in optimizer:
        problems.append(f"optim = {optimizer!r} steps inside the backward pass; use another")
    elif missing := explain_missing_optimizer(args):
        problems.append(f"optim = {optimizer!r}: {missing}")
    else:
        problems += [
            f"{name} is not read by optim = {optimizer!r}; leave it out" for name in list_unread(args)
        ]
    if wrong := explain_wrong_schedule(args):
        problems.append(f"lr_scheduler_kwargs = {args.lr_scheduler_kwargs!r}: {wrong}")
    if args.fp16 and args.device.type == "cpu":
        problems.append("fp16: Accelerate leaves it out on a CPU without a word; use bf16")
    if args.auto_find_batch_size and args.world_size > 1:
        problems.append(
            "auto_find_batch_size: with several processes only one would notice; say the batch size"
        )
    needs_score = (
        args.load_best_model_at_end or args.save_strategy == "best" or "plateau" in args.lr_scheduler_type
    )
    if needs_score and args.metric_for_best_model is None:
        problems.append("metric_for_best_model is missing: best models and plateau schedules go by it")
    if needs_score and args.eval_strategy == "no":
        problems.append("eval_strategy = 'no': best models and plateau schedules need evaluations")
    return problems


def require_arguments(args: TrainingArguments, engine: str, *, has_eval_set: bool) -> None:
    """Check what `check_arguments` checks, before training.

    Raises:
        UserError: Every problem, a line each.
    """
    problems = check_arguments(args, engine)
    if args.eval_strategy != "no" and not has_eval_set:
        problems.append(f"eval_strategy = {args.eval_strategy!r}, and there is no evaluation set")
    if problems:
        raise UserError("\n".join(f"training.{problem}" for problem in problems))
