"""What the classification tasks share, whatever is classified: labels in, logits out.

Shapes: B rows of a batch, C classes, K targets of a regression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import torch
from torch import nn

from hf_finetune.recipe import NamedSpec
from hf_finetune.tasks.features import label_kind

__all__ = ["build_class_reduce", "collate_rows", "default_class_metrics", "rank_label"]

USUAL_NAMES = frozenset({"category", "class", "classes", "labels", "score", "tags", "target", "targets", "y"})

DEFAULT_METRICS = {
    "single_label_classification": [NamedSpec(name="accuracy")],
    "multi_label_classification": [NamedSpec(name="f1", options={"average": "macro"})],
    "regression": [NamedSpec(name="mse"), NamedSpec(name="mae")],
}


def default_class_metrics(problem_type: str) -> list[NamedSpec]:
    """Return what a recipe without `metrics` is scored by."""
    return DEFAULT_METRICS[problem_type]


def rank_label(name: str, feature: Any, sample: Any) -> int | None:
    """Say how likely a column holds the labels: by its name, then class labels, then what could be one."""
    if label_kind(feature) is None:
        return None
    if name in ("label", "labels"):
        return 0
    if isinstance(getattr(feature, "feature", feature), datasets.ClassLabel):
        return 1
    return 2 if name.lower() in USUAL_NAMES else 3


def build_class_reduce(problem_type: str) -> Callable[[nn.Module, Any, Any], dict[str, torch.Tensor]]:
    """Return what makes predictions of logits.

    Args:
        problem_type: single label: "prediction" int64 [B], "probabilities" float32 [B, C] (softmax);
            multi label: "prediction" 0/1 int64 [B, C] at 0.5, "probabilities" [B, C] (sigmoid);
            regression: "prediction" float32 [B], or [B, K] with several targets.
    """

    def single(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
        logits = outputs.logits.float()
        return {"prediction": logits.argmax(-1), "probabilities": logits.softmax(-1)}

    def multi(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
        probabilities = outputs.logits.float().sigmoid()
        return {"prediction": (probabilities >= 0.5).long(), "probabilities": probabilities}

    def regression(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
        numbers = outputs.logits.float()
        return {"prediction": numbers.squeeze(-1) if numbers.shape[-1] == 1 else numbers}

    return {
        "single_label_classification": single,
        "multi_label_classification": multi,
        "regression": regression,
    }[problem_type]


def collate_rows(rows: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack rows of equal shapes to a micro-batch.

    A data set of ours makes a batch in one piece and hands out its rows as views: those are put together
    again without copying.

    Example:
        >>> batch = torch.zeros(2, 3)
        >>> collate_rows([{"x": row} for row in batch.unbind()])["x"].data_ptr() == batch.data_ptr()
        True
    """
    return {name: _stack([row[name] for row in rows]) for name in rows[0]}


def _stack(rows: list[torch.Tensor]) -> torch.Tensor:
    whole = rows[0]._base
    if whole is not None and len(whole) == len(rows) and whole.dim() == rows[0].dim() + 1:
        step = whole.stride(0) * whole.element_size()
        if all(
            row._base is whole and row.data_ptr() == whole.data_ptr() + i * step for i, row in enumerate(rows)
        ):
            return whole
    return torch.stack(rows)
