"""The registry of augmentations, and a recipe's list of them as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np

from hf_finetune.errors import UserError
from hf_finetune.registry import OptionError, Registry, Spec

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Chain",
    "ImageAugmentation",
    "Row",
    "SoundAugmentation",
    "build_augment",
    "check_choice",
    "check_number",
    "check_pair",
]

Row = dict[str, Any]


class Augmentation(Protocol):
    """A random change of one decoded row."""

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """Return the changed row; the one given stays as it is."""
        ...


AUGMENTATIONS: Registry[Callable[..., Augmentation]] = Registry("augmentation")


class ImageAugmentation(ABC):
    """Base of what changes `row["image"]`, uint8 [H, W, 3], before the processor resizes it."""

    modality = "image"

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """Return the row with its image changed."""
        return {**row, "image": self.apply(row["image"], rng)}

    @abstractmethod
    def apply(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the changed image, uint8 [h, w, 3]; never change the one given."""


@dataclass(frozen=True, kw_only=True)
class SoundAugmentation(ABC):
    """Base of what changes `row["audio"]`, float32 [N], before the feature extractor.

    Args:
        p: Probability that anything is changed, 0 to 1.
    """

    modality: ClassVar[str] = "audio"
    pairs: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Options that are the two ends of what is drawn -> the lowest and the highest number they may be."""
    p: float = 1.0

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)
        for option, (low, high) in self.pairs.items():
            check_pair(option, getattr(self, option), low, high)

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """Return the row with its sound changed."""
        if rng.random() >= self.p:
            return row
        return {**row, "audio": self.change(row["audio"], row["sampling_rate"], rng)}

    @abstractmethod
    def change(self, clip: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """Return the changed clip, float32 [n]; never change the one given.

        Args:
            clip: float32 [N], full scale at 1.
            rate: Its sampling rate, in Hz.
            rng: All that may be drawn from.
        """


@dataclass(frozen=True)
class Chain:
    """Several augmentations, one after the other, drawing from one generator."""

    steps: tuple[Augmentation, ...]

    def __call__(self, row: Row, rng: np.random.Generator) -> Row:
        """Return the row after all steps."""
        for step in self.steps:
            row = step(row, rng)
        return row


def build_augment(specs: Sequence[Spec], *, modality: str, where: Callable[[str], str]) -> Chain | None:
    """Build a recipe's `data.augment`.

    Args:
        specs: Entries with `name` and `options`.
        modality: Of the task: "image", "audio" ...
        where: Key of the recipe -> place, for messages.

    Returns:
        None for an empty list.

    Raises:
        UserError: A name or an option is unknown, a value is refused, or an entry is of another modality.
    """
    steps = []
    for i, spec in enumerate(specs):
        entry = f"data.augment.{i}"
        step = AUGMENTATIONS.build(spec.name, spec.options, where=partial(_place, where, entry))
        theirs = getattr(step, "modality", modality)
        if theirs != modality:
            raise UserError(
                f"the augmentation {spec.name!r} is for {theirs}, not for {modality}", where=where(entry)
            )
        steps.append(step)
    return Chain(tuple(steps)) if steps else None


def _place(where: Callable[[str], str], entry: str, option: str) -> str:
    return where(f"{entry}.{option}" if option else entry)


def check_number(option: str, value: Any, low: float, high: float, *, is_whole: bool = False) -> None:
    """Refuse what is not a number in [low, high].

    Raises:
        OptionError: With the option's name and the range.
    """
    kinds = (int,) if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        word = "whole number" if is_whole else "number"
        raise OptionError(f"{option} must be a {word} from {low} to {high}, got {value!r}", option=option)


def check_pair(option: str, value: Any, low: float, high: float) -> None:
    """Refuse what is not two numbers in [low, high] in ascending order.

    Raises:
        OptionError: With the option's name and the range.
    """
    try:
        first, second = value
        check_number(option, first, low, high)
        check_number(option, second, first, high)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{option} must be two ascending numbers from {low} to {high}, got {value!r}", option=option
        ) from error


def check_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse what is not one of a few words.

    Raises:
        OptionError: With the option's name and the choices.
    """
    if value not in choices:
        raise OptionError(f"{option} must be one of {', '.join(choices)}, got {value!r}", option=option)
