"""What goes between a task and what is around it: rows, tensors, what can be said, targets, preparations.

Shapes: N rows of a split, B of a batch, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hf_finetune.problems import Labels

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow as pa
    import torch
    from torch import nn

__all__ = [
    "Arrays",
    "Decode",
    "Fetch",
    "Forward",
    "Matched",
    "Preparation",
    "Role",
    "Row",
    "Space",
    "Targets",
    "Tensors",
    "Transform",
]

Row = dict[str, Any]
"""One decoded example, before it becomes numbers for the model: `{"image": uint8 [H, W, 3]}`."""

Tensors: TypeAlias = "torch.Tensor | Sequence[torch.Tensor]"
"""One tensor for all rows, or a list where their lengths differ."""

Transform: TypeAlias = "Callable[[Sequence[Row]], Mapping[str, Tensors]]"
"""Decoded rows -> model inputs by name."""

Fetch = Callable[[Sequence[int]], Sequence[Any]]
"""Positions within the batch -> the raw values of the data set, for what was not worth caching decoded."""


Forward: TypeAlias = "Callable[[nn.Module, Mapping[str, torch.Tensor]], Any]"
"""Model and inputs of an evaluation batch -> its outputs, with B rows."""

Arrays: TypeAlias = "Mapping[str, np.ndarray]"
"""What is left of a batch after `reduce`, B rows each, on the main process; "labels" where they are known."""

Decode: TypeAlias = "Callable[[Arrays], dict[str, np.ndarray]]"
"""Reduced rows of a batch -> the same with text in place of token numbers."""


class Space(Labels, Protocol):
    """What a model can say: some classes, numbers, or text."""

    def describe(self) -> str:
        """Say in a few words what there is to say."""
        ...

    def name_other_outputs(self, config: Any) -> str:
        """Say what else a checkpoint's output layer of the same size is for; empty when it is for this."""
        ...

    def configure(self, config: Any) -> None:
        """Write into a model's config what it must know to have the right output layer."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what `scores.json` keeps of it."""
        ...


class Targets(Protocol):
    """What a split's rows should come out as."""

    def take(self, rows: np.ndarray) -> Tensors:
        """Return the targets of some rows."""
        ...

    def content(self, rows: np.ndarray) -> bytes:
        """Return bytes that differ when the targets of some rows do."""
        ...

    @property
    def classes(self) -> np.ndarray | None:
        """[N] the class of every row, where each has exactly one: a hold-out is stratified by it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The targets of a split as a trained model numbers them.

    Args:
        targets: With what the model knows of every row's label.
        unknown: Class that the model does not know -> its labels in the split, which nothing predicts.
        unknown_labels: The unknown classes of every row, by their place in `unknown`; None for no row.
    """

    targets: Targets
    unknown: Mapping[str, int] = field(default_factory=dict)
    unknown_labels: Targets | None = None


@dataclass(frozen=True, kw_only=True)
class Role:
    """A column that a task needs.

    Args:
        name: The key in the recipe's `data.columns`.
        what: What the column holds, for messages: "the image", "the label".
        rank: (column name, its feature, its first value) -> how likely it is meant: 0 for the column one
            would bet on, higher for weaker guesses, None when it cannot be.
        is_optional: Whether there need be none; then it is taken only where the recipe names it.
    """

    name: str
    what: str
    rank: Callable[[str, Any, Any], int | None]
    is_optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How raw values become the rows that are cached.

    Args:
        function: A list of raw values -> columns of as many values; among them "problem", a string where
            the value cannot be used, and "digest", an int64 that identifies the content. Must pickle, so
            that several processes can prepare.
        read: Rows of the cache, and a `Fetch` -> decoded rows.
        features: What `function` returns.
        key: Changes whenever the result for the same raw values changes; part of the cache's name.
        folders: Where a relative file name among the values may start; the first that has the file is taken.
    """

    function: Callable[[list[Any]], dict[str, list[Any]]]
    read: Callable[[pa.Table, Fetch], list[Row]]
    features: datasets.Features
    key: str
    folders: tuple[str, ...] = ()
