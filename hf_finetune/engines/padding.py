"""How much of the micro-batches of an epoch is padding."""

from __future__ import annotations

from typing import Any

from transformers import TrainingArguments

from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.tickets import plan_training

__all__ = ["measure_padding"]


def measure_padding(parts: Ingredients, args: TrainingArguments) -> float | None:
    """Return the share of padding in the inputs of this process' first epoch, by the lengths of its rows.

    Args:
        parts: With a training set that knows the lengths of its rows, and `full_length` where its inputs are
            always made as long as that.
        args: Batch size and sampling strategy.

    Returns:
        0 to 1; None where rows have no lengths.

    Example:
        Rows of 1 and 3 in a batch: 2 of 6 places are padding, a share of 1/3.
    """
    dataset: Any = parts.train_dataset
    lengths = getattr(dataset, "lengths", None)
    if lengths is None or not hasattr(dataset, "__len__"):
        return None
    full = getattr(dataset, "full_length", None)
    seed = args.seed if args.data_seed is None else args.data_seed
    num_filled = num_places = 0
    for share in plan_training(parts, args, seed)(0):
        own = [min(lengths[row], full) if full else lengths[row] for row in share.rows]
        num_filled += sum(own)
        num_places += len(own) * (full or max(own))
    return 1 - num_filled / num_places if num_places else None
