"""The kinds of problem a model is trained for, and what losses, metrics and tasks all know of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from hf_finetune.registry import OptionError

__all__ = [
    "CTC",
    "MULTI",
    "NUM_SAMPLES",
    "REGRESSION",
    "SEQ2SEQ",
    "SINGLE",
    "TEXT",
    "Labels",
    "refuse_other_problems",
]

SINGLE: Final = "single_label_classification"
MULTI: Final = "multi_label_classification"
REGRESSION: Final = "regression"
"""The three words of `config.problem_type` in transformers."""

CTC: Final = "ctc"
SEQ2SEQ: Final = "seq2seq"
TEXT = (CTC, SEQ2SEQ)
"""Text that a CTC model spells frame by frame, and text that a decoder writes."""


NUM_SAMPLES: Final = "num_samples"
"""Name of an input of evaluations that no model takes: how long a row's clip is, [B]."""


class Labels(Protocol):
    """What can be said about the targets; `LabelSpace` and the spaces of speech have it."""

    @property
    def problem_type(self) -> str:
        """One of transformers' three problem types, or one of `TEXT`."""
        ...

    @property
    def num_labels(self) -> int:
        """Outputs of the model: classes, targets of a regression, tokens of the vocabulary."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The names of the classes; empty where there are none."""
        ...


def refuse_other_problems(space: Labels, allowed: Sequence[str], *, todo: str) -> None:
    """Refuse targets that a loss or a metric is not for.

    Args:
        space: The targets.
        allowed: Problem types it is for.
        todo: What to do instead.

    Raises:
        OptionError: The problem type is not among `allowed`.
    """
    if space.problem_type not in allowed:
        raise OptionError(
            f"it is for {' or '.join(allowed)}, but the labels are {space.problem_type}", todo=todo
        )
