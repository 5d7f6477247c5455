"""The Accelerator and the model on its device, as `Trainer` sets them up; and sums over processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    TorchDynamoPlugin,
    gather,
)
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn
from transformers import PreTrainedModel, TrainerState, TrainingArguments, set_seed
from transformers.trainer_utils import enable_full_determinism

from hf_finetune.engines.checkpoint import load_state
from hf_finetune.engines.ingredients import Batch, Filler

__all__ = [
    "build_accelerator",
    "count_input_tokens",
    "count_operations",
    "count_parameters",
    "empty_cache",
    "let_gradients_pass",
    "place_model",
    "search_batch_size",
    "seed_all",
    "sum_over_processes",
]

logger = logging.getLogger(__name__)


def seed_all(args: TrainingArguments) -> None:
    """Seed python, numpy and torch; with `full_determinism` also choose deterministic kernels."""
    if args.full_determinism:
        enable_full_determinism(args.seed)
    else:
        set_seed(args.seed)


def build_accelerator(model: nn.Module, args: TrainingArguments) -> Accelerator:
    """Return the accelerator that `Trainer` would make from these arguments.

    Source: transformers 5.23, `Trainer.create_accelerator_and_postprocess` and `_build_accelerator_args`.
    """
    _ = args.device  # sets up the process group; must come before the accelerator looks for it
    if args.ddp_find_unused_parameters is not None:
        find_unused = args.ddp_find_unused_parameters
    elif isinstance(model, PreTrainedModel):
        find_unused = not (model.is_activation_checkpointing or args.activation_checkpointing)
    else:
        find_unused = True
    ddp: dict[str, Any] = {
        "find_unused_parameters": find_unused,
        "bucket_cap_mb": args.ddp_bucket_cap_mb,
        "broadcast_buffers": args.ddp_broadcast_buffers,
        "static_graph": args.ddp_static_graph,
    }
    return Accelerator(
        mixed_precision=args.mixed_precision,
        dataloader_config=DataLoaderConfiguration(non_blocking=args.accelerator_config.non_blocking),
        # a window is a list of micro-batches here; the accelerator must not divide by their number again
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[
            DistributedDataParallelKwargs(**{name: value for name, value in ddp.items() if value is not None})
        ],
        dynamo_plugin=TorchDynamoPlugin(backend=args.torch_compile_backend, mode=args.torch_compile_mode),
    )


def place_model(model: nn.Module, args: TrainingArguments) -> None:
    """Put the model on its device, and trade memory of activations for time where asked to."""
    model.to(args.device)
    let_gradients_pass(model, args)
    if args.activation_checkpointing:
        options = dict(args.activation_checkpointing_kwargs or {})
        every_n_layers, offload = options.pop("every_n_layers", 1), options.pop("offload", False)
        model.activation_checkpointing_enable(  # type: ignore[operator]
            activation_checkpointing_kwargs=options or None, every_n_layers=every_n_layers, offload=offload
        )
    if getattr(model, "config", None) is not None:
        model.config.use_cache = args.use_cache  # type: ignore[union-attr]


def let_gradients_pass(model: nn.Module, args: TrainingArguments) -> None:
    """Let frozen embeddings hand gradients on to activation checkpointing of the reentrant kind.

    It gives the layers inside no gradient when nothing that goes in needs one, as with adapters. For token
    embeddings transformers 5.23 sees to that, for pictures and sound it does not.
    """
    if args.activation_checkpointing and (args.activation_checkpointing_kwargs or {}).get("use_reentrant"):
        model.enable_input_require_grads()  # type: ignore[operator]


def sum_over_processes(value: float, args: TrainingArguments) -> float:
    """Return the sum of every process' value, exactly up to 2**53."""
    if args.world_size == 1:
        return value
    return float(gather(torch.tensor([value], dtype=torch.float64, device=args.device)).sum().item())


def count_parameters(model: nn.Module) -> int:
    """Return the parameters that every input value passes through; 0 for what is not of transformers."""
    return int(model.num_parameters(exclude_embeddings=True)) if hasattr(model, "num_parameters") else 0  # type: ignore[operator]


def count_operations(batch: Batch, model: nn.Module, num_parameters: int) -> int:
    """Estimate the floating-point operations of forward and backward: 6 for each parameter and input value.

    Source: transformers 5.23, `Trainer.floating_point_ops`, which counts the parameters on every micro-batch.
    """
    inputs = batch.get(getattr(model, "main_input_name", "input_ids"))
    return 0 if inputs is None or isinstance(batch, Filler) else 6 * inputs.numel() * num_parameters


def count_input_tokens(batch: Batch, model: nn.Module, processor: Any, args: TrainingArguments) -> int:
    """Count what `include_num_input_tokens_seen` asks for, over all processes.

    Source: transformers 5.23, `Trainer._track_num_input_tokens`.
    """
    if args.include_num_input_tokens_seen == "no":
        return 0
    inputs = batch.get(getattr(model, "main_input_name", "input_ids"))
    if inputs is None:
        return 0
    count = inputs.numel()
    if args.include_num_input_tokens_seen == "non_padding":
        padding = getattr(processor, "pad_token_id", None)
        if "attention_mask" in batch:
            count = int(batch["attention_mask"].sum())
        elif padding is not None:
            count = int((inputs != padding).sum())
    return int(sum_over_processes(0 if isinstance(batch, Filler) else count, args))


def empty_cache(state: TrainerState, args: TrainingArguments) -> None:
    """Give unused device memory back every `torch_empty_cache_steps` updates."""
    if args.torch_empty_cache_steps and state.global_step % args.torch_empty_cache_steps == 0:
        clear_device_cache()


def search_batch_size(
    fit: Callable[[TrainingArguments], TrainerState],
    model: nn.Module,
    args: TrainingArguments,
    resume_from: Path | None,
) -> TrainerState:
    """Train; with `auto_find_batch_size`, anew with half the batch each time memory runs out.

    Every attempt starts from the same weights and the same seed, so the result is that of a run with the
    batch size that was found. `Trainer` goes on with the weights the failed attempt had reached.
    """
    if not args.auto_find_batch_size:
        return fit(args)
    args.auto_find_batch_size = False
    if resume_from is not None:
        args.per_device_train_batch_size = load_state(resume_from).train_batch_size
    start = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    while True:
        try:
            return fit(args)
        except RuntimeError as error:
            if not should_reduce_batch_size(error) or args.per_device_train_batch_size == 1:
                raise
        args.per_device_train_batch_size //= 2
        logger.warning("out of memory: anew with batches of %d rows", args.per_device_train_batch_size)
        clear_device_cache(garbage_collection=True)
        model.load_state_dict(start)
