"""Named losses: a recipe's `loss` -> what an engine calls on each micro-batch."""

from hf_finetune.losses import classification, ctc, regression  # registers them
from hf_finetune.losses.base import LOSSES, Loss, build_loss, default_loss, get_logits
from hf_finetune.losses.weights import balanced_weights

__all__ = [
    "LOSSES",
    "Loss",
    "balanced_weights",
    "build_loss",
    "classification",
    "ctc",
    "default_loss",
    "get_logits",
    "regression",
]
