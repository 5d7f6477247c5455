"""Options that are numbers, one for all or one for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from hf_finetune.errors import UserError
from hf_finetune.registry import OptionError

__all__ = ["ClassNumbers", "balanced_weights", "check_number", "is_number"]


def balanced_weights(
    counts: Sequence[int], *, names: Sequence[str] = (), where: str | None = None
) -> list[float]:
    """Return class weights that give every class the same share of the loss.

    The weight of class c is N / (C * N_c). Its mean over all training rows is 1, so that the scale of the
    loss stays as it was.

    Args:
        counts: Training rows of each class.
        names: Of the classes, for the message.
        where: Place in the recipe, for the message.

    Raises:
        UserError: A class has no training row, so that no weight could balance it.

    Example:
        >>> balanced_weights([1, 3])
        [2.0, 0.6666666666666666]

    Source: `compute_class_weight("balanced")` of scikit-learn, after King and Zeng 2001.
    """
    empty = [str(names[c]) if names else str(c) for c, count in enumerate(counts) if not count]
    if empty:
        shown = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        raise UserError(
            f"class_weights cannot be balanced: no training row of class {shown}",
            where=where,
            todo="Give a list of weights instead.",
        )
    return [sum(counts) / (len(counts) * count) for count in counts]


def is_number(value: object) -> bool:
    """Return whether a value of a recipe is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_number(option: str, value: object, *, up_to: float = math.inf, below: float = math.inf) -> float:
    """Return an option's value as a number of at least 0.

    Args:
        option: Its name, for the message.
        value: As the recipe says it.
        up_to: The largest number allowed.
        below: Numbers must be smaller than this.

    Raises:
        OptionError: It is not a number, or not in the range.
    """
    if isinstance(value, int | float) and is_number(value) and 0 <= value <= up_to and value < below:
        return float(value)
    limit = f" up to {up_to:g}" if up_to < math.inf else f" below {below:g}" if below < math.inf else ""
    raise OptionError(f"{option} must be a number from 0{limit}, not {value!r}", option=option)


class ClassNumbers:
    """One number for each class, kept as a tensor where the logits are; or nothing.

    Args:
        option: The option's name, for messages.
        values: None, a list in the order of the classes, or a mapping by their names.
        names: Of the classes.
        num_classes: How many there are.
        up_to: The largest number allowed.

    Raises:
        OptionError: The classes are not all there once, or a value is not a number of the range.
    """

    def __init__(
        self,
        option: str,
        values: object,
        *,
        names: Sequence[str],
        num_classes: int,
        up_to: float = math.inf,
    ) -> None:
        self._tensor: torch.Tensor | None = None
        if isinstance(values, Mapping):
            by_name = {
                str(name): value for name, value in values.items()
            }  # YAML reads the class 7 as a number
            wrong = sorted(by_name.keys() ^ set(names))
            if wrong:
                raise OptionError(
                    f"{option} must have each class once; missing or unknown: {', '.join(wrong)}",
                    option=option,
                )
            values = [by_name[name] for name in names]
        if values is None:
            return
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != num_classes:
            raise OptionError(
                f"{option} must have {num_classes} numbers, one for each class, not {values!r}",
                option=option,
            )
        self._tensor = torch.tensor([check_number(option, value, up_to=up_to) for value in values])

    def on(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Return the numbers with the device and type of the logits, [C]; None when there are none."""
        if self._tensor is not None:
            self._tensor = self._tensor.to(logits)  # a copy at the first call only
        return self._tensor
