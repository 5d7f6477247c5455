"""Labels as a model knows them: which there are, and those of a split as numbers.

Shapes: N rows of a split, B of a batch, C classes, K targets of a regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

__all__ = ["LabelSpace", "LabelTargets", "ProblemType"]

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
"""The words of `config.problem_type` in transformers."""


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """What the model can say.

    Args:
        problem_type: As transformers names it.
        names: The class names in the order of their numbers; empty for regression.
        num_labels: Outputs of the model: classes, or targets of a regression.

    Example:
        >>> space = LabelSpace(
        ...     problem_type="single_label_classification", names=("cat", "dog"), num_labels=2
        ... )
        >>> space.id2label, space.label2id
        ({0: 'cat', 1: 'dog'}, {'cat': 0, 'dog': 1})
    """

    problem_type: ProblemType
    names: tuple[str, ...]
    num_labels: int

    @property
    def id2label(self) -> dict[int, str]:
        """Return number -> name, as a model's config wants it."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """Return name -> number."""
        return {name: number for number, name in enumerate(self.names)}

    def describe(self) -> str:
        """Say what there is to tell apart."""
        return f"{self.problem_type}, {self.num_labels} labels"

    def configure(self, config: Any) -> None:
        """Write the classes, or the number of outputs, into a model's config."""
        if self.names:
            config.id2label, config.label2id = self.id2label, self.label2id
        else:
            config.num_labels = self.num_labels
        config.problem_type = self.problem_type

    def name_other_outputs(self, config: Any) -> str:
        """Say which other classes a checkpoint's head tells apart; LABEL_0 ... is a head without names."""
        names: dict[int, str] = dict(config.id2label or {})
        is_named = any(name != f"LABEL_{index}" for index, name in names.items())
        if not is_named or not self.names or names == self.id2label:
            return ""
        return f"other classes ({', '.join(list(names.values())[:3])} ...)"

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {"labels": list(self.names), "num_labels": self.num_labels, "problem_type": self.problem_type}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> LabelSpace:
        """Return the space that `to_json` described."""
        names = tuple(kept["labels"])
        return cls(
            problem_type=kept["problem_type"], names=names, num_labels=len(names) or kept["num_labels"]
        )


@dataclass(frozen=True, kw_only=True)
class LabelTargets:
    """The labels of one split as numbers.

    Args:
        values: [N] or [N, K]; with `offsets` the label numbers of all rows, one row after the other.
        offsets: [N + 1], where each row's label numbers start in `values`; None for dense values.
        num_labels: C, needed with `offsets`.
    """

    values: np.ndarray
    offsets: np.ndarray | None = None
    num_labels: int = 0

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    def take(self, rows: np.ndarray) -> torch.Tensor:
        """Return the targets of some rows: int64 [B], float32 [B], [B, C] or [B, K]."""
        if self.offsets is None:
            return torch.from_numpy(self.values[rows])
        hot = torch.zeros(len(rows), self.num_labels)  # [B, C]
        for i, row in enumerate(rows):
            hot[i, self.values[self.offsets[row] : self.offsets[row + 1]]] = 1.0
        return hot

    def content(self, rows: np.ndarray) -> bytes:
        """Return bytes that differ when the targets of some rows do."""
        if self.offsets is None:
            return bytes(self.values[rows].tobytes())
        return bytes(self.values.tobytes() + self.offsets.tobytes() + rows.tobytes())

    @property
    def classes(self) -> np.ndarray | None:
        """[N] the class of every row, where each has exactly one."""
        return self.values if self.values.dtype == np.int64 and self.offsets is None else None
