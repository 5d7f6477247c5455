"""What a loss is, and how a recipe's `loss` becomes one.

Every loss returns the *sum* over the targets of a micro-batch divided by `num_items_in_batch`, the number of
targets in the whole window over all processes. Added up over the micro-batches of a window this is the mean
over the window, whatever the number of micro-batches and however ragged they are. A target of -100 counts
neither in the sum nor in the number; that holds for regression too, because the engine counts all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from hf_finetune.errors import UserError
from hf_finetune.losses.weights import balanced_weights
from hf_finetune.problems import CTC, MULTI, REGRESSION, SEQ2SEQ, SINGLE, Labels, refuse_other_problems
from hf_finetune.registry import Registry, Spec

__all__ = [
    "IGNORED",
    "LOSSES",
    "Loss",
    "align",
    "build_loss",
    "check_problem",
    "default_loss",
    "divide",
    "elementwise",
    "get_logits",
]

IGNORED = -100

DEFAULTS = {
    SINGLE: "cross_entropy",
    MULTI: "bce_with_logits",
    REGRESSION: "mse",
    CTC: "ctc",
    SEQ2SEQ: "cross_entropy",
}
"""Problem type -> the loss of a recipe that names none."""


class Loss(Protocol):
    """What `build_loss` returns and an engine calls."""

    def __call__(
        self,
        outputs: Any,
        labels: torch.Tensor,
        *,
        inputs: Mapping[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int,
    ) -> torch.Tensor:
        """Return the sum of the losses of all targets over `num_items_in_batch`, a scalar."""
        ...


LOSSES: Registry[Callable[..., Loss]] = Registry("loss")
"""Factories by name: `factory(space, **options) -> Loss`; `space` has what `Labels` says.

A file of the user's own, named in the recipe's `imports`, adds one:

    @LOSSES.register("hinge")
    def build_hinge(space, *, margin: float = 1.0):
        def hinge(outputs, labels, *, inputs, num_items_in_batch):
            return (margin - labels * get_logits(outputs)).clamp(min=0).sum() / num_items_in_batch
        return hinge
"""


def default_loss(problem_type: str) -> str:
    """Return the name of the loss a problem type has when the recipe names none.

    Example:
        >>> default_loss("multi_label_classification")
        'bce_with_logits'
    """
    return DEFAULTS[problem_type]


def build_loss(
    spec: Spec | None,
    space: Labels,
    *,
    label_smoothing: float = 0.0,
    count_labels: Callable[[], Sequence[int]] | None = None,
    where: Callable[[str], str] | None = None,
    is_for_evaluation: bool = False,
) -> Loss:
    """Build the loss of a recipe.

    An evaluation is against the true labels: smoothing makes targets of them that training is to learn, and a
    model must not be called better for being less sure. All else says what a mistake costs (class weights,
    the focus of a focal loss, Huber's delta), and is the same in an evaluation as in training.

    Args:
        spec: Name and options; None takes `default_loss`.
        space: Problem type, number and names of the labels.
        label_smoothing: `TrainingArguments.label_smoothing_factor`, in [0, 1); an option of the spec wins.
        count_labels: Returns the number of training rows of each class; called only when the recipe says
            `class_weights: balanced`.
        where: `Recipe.where`.
        is_for_evaluation: Without label smoothing, whoever asked for it.

    Raises:
        UserError: The name or an option is unknown, or does not fit the targets; the problem type has no loss
            of its own, and none is named.
    """
    if spec is None and space.problem_type not in DEFAULTS:
        raise UserError(
            f"the problem type {space.problem_type!r} has no loss of its own",
            where=where("loss") if where else None,
            todo=f"Name one: loss: NAME. Known: {', '.join(LOSSES)}; a file of yours in imports adds one.",
        )
    name = spec.name if spec else default_loss(space.problem_type)
    options = dict(spec.options) if spec else {}
    is_from_arguments = bool(label_smoothing) and "label_smoothing" not in options
    if is_from_arguments:
        options["label_smoothing"] = label_smoothing
    if is_for_evaluation and "label_smoothing" in options:
        options["label_smoothing"] = 0.0

    def place(option: str) -> str | None:
        if where is None:
            return None
        if option == "label_smoothing" and is_from_arguments:
            return where("training.label_smoothing_factor")
        return where(f"loss.{option}" if option else "loss")

    if options.get("class_weights") == "balanced" and count_labels is not None:
        options["class_weights"] = balanced_weights(
            count_labels(), names=space.names, where=place("class_weights")
        )
    loss: Loss = LOSSES.build(name, options, space, where=place)
    return loss


def get_logits(outputs: Any) -> torch.Tensor:
    """Return the logits of a `ModelOutput`, a mapping or a bare tensor, in full precision.

    Half-precision logits are widened, as transformers does for language models: a sum over a window in
    bfloat16 has three digits. The two heads of a distilled DeiT come averaged, as the model returns them.
    """
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs["logits"]
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def elementwise(compare: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Loss:
    """Return the loss whose targets are all elements of the labels.

    Args:
        compare: (logits, targets) of one shape -> the loss of each element.
    """

    def loss(
        outputs: Any,
        labels: torch.Tensor,
        *,
        inputs: Mapping[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int,
    ) -> torch.Tensor:
        logits, targets, counted = align(get_logits(outputs), labels)
        return divide(torch.where(counted, compare(logits, targets), 0.0).sum(), num_items_in_batch)

    return loss


def align(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits, targets and which targets count, all in the labels' shape; nothing is broadcast.

    Raises:
        UserError: The shapes differ by more than a last axis of 1.
    """
    if logits.shape == (*labels.shape, 1):
        logits = logits.squeeze(-1)
    if logits.shape != labels.shape:
        raise UserError(
            f"logits of shape {list(logits.shape)} do not fit labels of shape {list(labels.shape)}",
            todo="Check the problem type and the label column.",
        )
    counted = labels != IGNORED
    return logits, torch.where(counted, labels, 0).to(logits.dtype), counted


def divide(total: torch.Tensor, num_items: torch.Tensor | int) -> torch.Tensor:
    """Return `total / num_items`; 0 where every target of a window is -100 and 0 / 0 would stop the run."""
    if isinstance(num_items, torch.Tensor):
        return total / num_items.to(total.device).clamp(min=1)
    return total / max(num_items, 1)


def check_problem(space: Labels, *allowed: str) -> None:
    """Refuse targets that a loss is not for.

    Raises:
        OptionError: The problem type is not among `allowed`.
    """
    own = DEFAULTS.get(space.problem_type)  # a task of the user's may have a problem type of its own
    todo = f"Use {own!r}, or leave the loss out." if own else "Name a loss that is for it."
    refuse_other_problems(space, allowed, todo=todo)
