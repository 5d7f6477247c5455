"""One pass over an evaluation set: memory for one batch, the same numbers on any number of processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather, pad_across_processes
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from transformers.trainer_utils import speed_metrics

from hf_finetune.engines.ingredients import Batch, Filler, Ingredients
from hf_finetune.engines.loaders import build_eval_loader, build_train_loader
from hf_finetune.engines.randomness import isolated
from hf_finetune.engines.tickets import deal
from hf_finetune.errors import DataError

__all__ = ["count_targets", "evaluate", "name_eval_sets", "to_device", "try_one_batch"]

IGNORED = -100
"""The label that does not count, and what pads gathered tensors."""


def evaluate(
    parts: Ingredients,
    dataset: Any,
    *,
    prefix: str,
    on_batch: Callable[[dict[str, np.ndarray]], None] | None = None,
    on_step: Callable[[DataLoader[Any]], None] | None = None,
) -> dict[str, float]:
    """Score the model on a data set.

    The logits of a batch are reduced on the device, gathered, given to the metrics and forgotten. The loss is
    the sum over all targets divided by their number, whatever the batch size. Nothing is drawn from the
    global random stream by the loading, so an evaluation does not change the training that follows by its
    data.

    Args:
        parts: Model, loss, reduce, metrics, collate and args are used; the model may be as it is after `fit`.
        dataset: Rows the collator takes; must have a length.
        prefix: Put before every name: "eval" gives `eval_loss`.
        on_batch: Called on the main process with the gathered, decoded rows and "labels", in the data set's
            order.
        on_step: Called on every process after each batch with the loader (for a progress bar).

    Returns:
        `{prefix_loss, prefix_<metric> ..., prefix_runtime, prefix_samples_per_second,
        prefix_steps_per_second}`, the same on every process (but for the times).

    Raises:
        DataError: The data set is empty or a batch has no labels.
    """
    args = parts.args
    if len(dataset) == 0:
        raise DataError(f"the {prefix} set is empty", todo="Look at data.splits.")
    start = time.time()
    model = parts.model.to(args.device)
    was_training = model.training
    model.eval()
    loader = build_eval_loader(parts, dataset, args)
    round_size, num_rows = args.eval_batch_size * args.world_size, len(dataset)
    loss_sum = torch.zeros((), dtype=torch.float64, device=args.device)
    num_targets = torch.zeros((), dtype=torch.int64, device=args.device)

    with torch.no_grad():
        for number, batch in enumerate(loader):
            in_round = min(round_size, num_rows - number * round_size)
            inputs = to_device(batch, args.device)
            if "labels" not in inputs:
                raise DataError(f"a batch of the {prefix} set has no labels", todo="Look at data.columns.")
            labels = inputs.pop("labels")
            with _precision(model, args):
                outputs = model(**inputs) if parts.forward is None else parts.forward(model, inputs)
            if not isinstance(batch, Filler):
                num_targets += count_targets([{"labels": labels}])
                measure = parts.loss if parts.eval_loss is None else parts.eval_loss
                loss = measure(outputs, labels, inputs=inputs, num_items_in_batch=1)
                loss_sum += loss.detach().double()
            with _precision(model, args):  # it may let the model write text
                reduced = {**parts.reduce(model, inputs, outputs), "labels": labels}
            rows = {name: _gather_rows(value, in_round, args) for name, value in reduced.items()}
            if args.process_index == 0:
                _take_in(parts, rows, on_batch)
            if on_step is not None:
                on_step(loader)

    if was_training:
        model.train()
    total = gather(loss_sum.reshape(1)).sum()
    targets = gather(num_targets.reshape(1)).sum()
    scores: dict[str, Any] = {"loss": (total / targets).item()}
    if parts.metrics is not None:
        scores |= _broadcast(parts.metrics.compute() if args.process_index == 0 else {}, args)
    named = {f"{prefix}_{name}": _as_float(value) for name, value in scores.items()}
    named |= speed_metrics(prefix, start, num_samples=num_rows, num_steps=len(loader))
    return named


def try_one_batch(parts: Ingredients) -> None:
    """Take one micro-batch of training rows through model, loss and reduce, and forget it.

    Raises:
        DataError: The batch has no labels.
    """
    args = parts.args
    batch = next(iter(build_train_loader(parts, args)))
    inputs = to_device(batch, args.device)
    if "labels" not in inputs:
        raise DataError("a batch of the training set has no labels", todo="Look at data.columns.")
    labels = inputs.pop("labels")
    model = parts.model.to(args.device)
    with torch.no_grad(), isolated(args.seed), _precision(model, args):
        outputs = model(**inputs)
        parts.loss(outputs, labels, inputs=inputs, num_items_in_batch=count_targets([{"labels": labels}]))
        parts.reduce(model, inputs, outputs)


def name_eval_sets(datasets: Any, prefix: str) -> dict[str, Any]:
    """Return `{prefix: data set}`; several named sets are `prefix_<name>`."""
    if isinstance(datasets, Mapping):
        return {f"{prefix}_{name}": dataset for name, dataset in datasets.items()}
    return {prefix: datasets}


def count_targets(window: list[Batch]) -> torch.Tensor:
    """Return the number of labels other than -100 in this process' micro-batches, as int64 of shape []."""
    counts = [(batch["labels"] != IGNORED).sum() for batch in window if not isinstance(batch, Filler)]
    return sum(counts, start=torch.zeros((), dtype=torch.int64))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a new mapping with every tensor on the device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def _precision(model: nn.Module, args: TrainingArguments) -> AbstractContextManager[Any]:
    """Evaluate in the precision of training, also when no engine has prepared the model."""
    if args.mixed_precision == "no" or hasattr(model, "_original_forward"):
        return nullcontext()
    dtype = torch.bfloat16 if args.mixed_precision == "bf16" else torch.float16
    return torch.autocast(args.device.type, dtype=dtype)


def _gather_rows(value: torch.Tensor, in_round: int, args: TrainingArguments) -> np.ndarray:
    """Return the rows of all processes in order, without those that fill up a round."""
    if args.world_size > 1:
        shares = [len(deal(in_round, process, args.world_size)) for process in range(args.world_size)]
        for dim in range(1, value.ndim):
            value = pad_across_processes(value, dim=dim, pad_index=IGNORED)
        most = max(shares)
        if len(value) < most:
            value = torch.cat([value, value[:1].expand(most - len(value), *value.shape[1:])])
        gathered = gather(value.contiguous()).split(most)
        value = torch.cat([rows[:share] for rows, share in zip(gathered, shares, strict=True)])
    if value.dtype == torch.bfloat16:
        value = value.float()
    return np.asarray(value.cpu().numpy())


def _take_in(
    parts: Ingredients,
    rows: dict[str, np.ndarray],
    on_batch: Callable[[dict[str, np.ndarray]], None] | None,
) -> None:
    if parts.decode is not None:
        rows = parts.decode(rows)
    if on_batch is not None:
        on_batch(rows)
    if parts.metrics is not None:
        parts.metrics.update(
            {name: value for name, value in rows.items() if name != "labels"}, rows["labels"]
        )


def _broadcast(scores: dict[str, Any], args: TrainingArguments) -> dict[str, Any]:
    if args.world_size == 1:
        return scores
    return dict(broadcast_object_list([scores], from_process=0)[0])


def _as_float(value: Any) -> Any:
    return value.item() if isinstance(value, (np.generic, torch.Tensor)) else value
