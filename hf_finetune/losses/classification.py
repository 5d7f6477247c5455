"""Losses over classes. Shapes: B rows, C classes or labels, * any further axes (tokens)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from hf_finetune.losses.base import (
    IGNORED,
    LOSSES,
    Loss,
    check_problem,
    divide,
    elementwise,
    get_logits,
)
from hf_finetune.losses.weights import ClassNumbers, check_number, is_number
from hf_finetune.problems import MULTI, SEQ2SEQ, SINGLE, Labels
from hf_finetune.registry import OptionError

__all__ = ["build_bce_with_logits", "build_cross_entropy", "build_focal"]


@LOSSES.register("cross_entropy")
def build_cross_entropy(
    space: Labels,
    *,
    class_weights: Sequence[float] | Mapping[str, float] | str | None = None,
    label_smoothing: float = 0.0,
) -> Loss:
    """Build cross-entropy over [B, *, C] logits and [B, *] labels.

    Weighted, it is the sum of w[y] * loss over the *number* of targets. torch's own weighted mean divides by
    the sum of the weights, so that a row pulls harder in a micro-batch of light classes, and gradient
    accumulation gives another number for every way of cutting the window. With balanced weights, whose mean
    is 1, the two agree on average.

    Args:
        space: The targets.
        class_weights: One for each class, at least 0: by name, in order, or "balanced", which `build_loss`
            works out from the training rows.
        label_smoothing: Share of the target spread over all classes, in [0, 1).

    Source: `torch.nn.functional.cross_entropy`; Szegedy et al. 2016, arXiv:1512.00567, for the smoothing.
    """
    check_problem(space, SINGLE, SEQ2SEQ)
    weights = ClassNumbers("class_weights", class_weights, names=space.names, num_classes=space.num_labels)
    smoothing = check_number("label_smoothing", label_smoothing, below=1.0)

    def cross_entropy(
        outputs: Any,
        labels: torch.Tensor,
        *,
        inputs: Mapping[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int,
    ) -> torch.Tensor:
        logits = get_logits(outputs)
        total = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),  # [B*, C]
            labels.reshape(-1),
            weight=weights.on(logits),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=smoothing,
        )
        return divide(total, num_items_in_batch)

    return cross_entropy


@LOSSES.register("bce_with_logits")
def build_bce_with_logits(
    space: Labels, *, pos_weight: float | Sequence[float] | Mapping[str, float] | None = None
) -> Loss:
    """Build binary cross-entropy over [B, C] logits and 0/1 labels; each of the B * C is a target.

    Args:
        space: The targets.
        pos_weight: Weight of a label's positive targets, at least 0: one for all, by name or in order.
    """
    check_problem(space, MULTI)
    values = [pos_weight] * space.num_labels if is_number(pos_weight) else pos_weight
    weights = ClassNumbers("pos_weight", values, names=space.names, num_classes=space.num_labels)
    return elementwise(
        lambda logits, targets: F.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=weights.on(logits), reduction="none"
        )
    )


@LOSSES.register("focal")
def build_focal(
    space: Labels,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | Mapping[str, float] | None = None,
) -> Loss:
    """Build the focal loss, -alpha_t (1 - p_t)^gamma log(p_t): rows the model is sure of count less.

    Args:
        space: Single-label targets take the softmax form, multi-label ones the sigmoid form of the paper.
        gamma: How much less, at least 0; 0 is cross-entropy.
        alpha: For multi-label targets and for two classes a number in [0, 1], the weight of the positive
            class; the negative has 1 - alpha. A list or a mapping gives multi-label targets such a number
            for each label, and single-label ones a weight for each class.

    Source: Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv:1708.02002, equation 5.
    """
    check_problem(space, SINGLE, MULTI)
    exponent = check_number("gamma", gamma)
    values: object = alpha
    if is_number(alpha):
        positive = check_number("alpha", alpha, up_to=1.0)
        if space.problem_type == MULTI:
            values = [positive] * space.num_labels
        elif space.num_labels == 2:
            values = [1 - positive, positive]
        else:
            raise OptionError(
                f"alpha is one number, but there are {space.num_labels} classes",
                option="alpha",
                todo="Give one weight for each class.",
            )
    up_to = 1.0 if space.problem_type == MULTI else float("inf")
    weights = ClassNumbers("alpha", values, names=space.names, num_classes=space.num_labels, up_to=up_to)
    if space.problem_type == MULTI:
        return elementwise(lambda logits, targets: _sigmoid_focal(logits, targets, exponent, weights))

    def focal(
        outputs: Any,
        labels: torch.Tensor,
        *,
        inputs: Mapping[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int,
    ) -> torch.Tensor:
        logits = get_logits(outputs)
        targets = labels.reshape(-1)  # [B*]
        # a target of -100 has a loss of 0 here, and 0 it stays
        nll = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), targets, ignore_index=IGNORED, reduction="none"
        )
        losses = _modulate(nll, exponent)
        weight = weights.on(logits)
        if weight is not None:
            losses = weight[targets.clamp(min=0)] * losses
        return divide(losses.sum(), num_items_in_batch)

    return focal


def _sigmoid_focal(
    logits: torch.Tensor, targets: torch.Tensor, gamma: float, weights: ClassNumbers
) -> torch.Tensor:
    nll = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")  # [B, C]
    losses = _modulate(nll, gamma)
    weight = weights.on(logits)
    return losses if weight is None else (weight * targets + (1 - weight) * (1 - targets)) * losses


def _modulate(nll: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return (1 - p_t)^gamma * nll, where nll = -log(p_t)."""
    # expm1 loses no digits near p_t = 1; the clamp keeps out the infinite slope a gamma below 1 has there
    missing = (-torch.expm1(-nll)).clamp(min=torch.finfo(nll.dtype).tiny)
    return missing**gamma * nll
