"""Losses over [B] or [B, K] real targets; each of the B * K outputs is a target."""

from __future__ import annotations

from torch.nn import functional as F

from hf_finetune.losses.base import LOSSES, Loss, check_problem, elementwise
from hf_finetune.losses.weights import check_number
from hf_finetune.problems import REGRESSION, Labels
from hf_finetune.registry import OptionError

__all__ = ["build_huber", "build_mae", "build_mse"]


@LOSSES.register("mse")
def build_mse(space: Labels) -> Loss:
    """Build the squared error."""
    check_problem(space, REGRESSION)
    return elementwise(lambda logits, targets: F.mse_loss(logits, targets, reduction="none"))


@LOSSES.register("l1")
@LOSSES.register("mae")
def build_mae(space: Labels) -> Loss:
    """Build the absolute error."""
    check_problem(space, REGRESSION)
    return elementwise(lambda logits, targets: F.l1_loss(logits, targets, reduction="none"))


@LOSSES.register("huber")
def build_huber(space: Labels, *, delta: float = 1.0) -> Loss:
    """Build the Huber loss: squared error / 2 up to `delta`, linear beyond.

    Args:
        space: The targets.
        delta: Where it turns linear, in units of the target, above 0.

    Source: Huber 1964, Robust Estimation of a Location Parameter.
    """
    check_problem(space, REGRESSION)
    turn = check_number("delta", delta)
    if not turn:
        raise OptionError("delta must be above 0", option="delta")
    return elementwise(lambda logits, targets: F.huber_loss(logits, targets, reduction="none", delta=turn))
