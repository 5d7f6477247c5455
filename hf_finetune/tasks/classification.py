"""What the classification tasks share, whatever is classified: labels in, logits out.

Shapes: B rows of a batch, C classes, K targets of a regression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from torch import nn

from hf_finetune.problems import MULTI, REGRESSION, SINGLE
from hf_finetune.recipe import NamedSpec
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.features import label_kind
from hf_finetune.tasks.label_columns import build_targets
from hf_finetune.tasks.labels import LabelSpace
from hf_finetune.tasks.matching import Unknown, match_labels
from hf_finetune.tasks.values import Arrays, Matched, Space, Targets

__all__ = ["ClassificationTask", "collate_rows", "rank_label"]

USUAL_NAMES = frozenset({"category", "class", "classes", "labels", "score", "tags", "target", "targets", "y"})

DEFAULT_METRICS = {
    SINGLE: [NamedSpec(name="accuracy")],
    MULTI: [NamedSpec(name="f1", options={"average": "macro"})],
    REGRESSION: [NamedSpec(name="mse"), NamedSpec(name="mae")],
}


def rank_label(name: str, feature: Any, sample: Any) -> int | None:
    """Say how likely a column holds the labels: by its name, then class labels, then what could be one."""
    if label_kind(feature) is None:
        return None
    if name in ("label", "labels"):
        return 0
    if isinstance(getattr(feature, "feature", feature), datasets.ClassLabel):
        return 1
    return 2 if name.lower() in USUAL_NAMES else 3


class ClassificationTask(Task):
    """A task whose labels are classes or numbers: what is left to say is what the inputs are."""

    def default_metrics(self, space: Space) -> list[NamedSpec]:
        """Return what a recipe without `metrics` is scored by."""
        return DEFAULT_METRICS[space.problem_type]

    def build_targets(
        self,
        columns: Mapping[str, pa.ChunkedArray],
        feature: Any,
        *,
        processor: Any,
        where: Callable[[str], str],
    ) -> tuple[LabelSpace, Mapping[str, Targets]]:
        """Turn the label columns of all splits into numbers."""
        return build_targets(columns, feature, problem_type=self.spec.problem_type, where=where)

    def match_targets(
        self,
        column: pa.ChunkedArray,
        feature: Any,
        space: Any,
        *,
        split: str,
        unknown: Unknown,
        processor: Any,
        where: Callable[[str], str],
    ) -> Matched:
        """Number labels by the names of the model's classes."""
        return match_labels(column, feature, space, split=split, unknown=unknown, where=where)

    def read_space(self, kept: Mapping[str, Any], processor: Any) -> LabelSpace:
        """Return the classes of a finished run."""
        return LabelSpace.from_json(kept)

    def build_collate(
        self, space: Space
    ) -> Callable[[Sequence[Mapping[str, torch.Tensor]]], dict[str, torch.Tensor]]:
        """Return what stacks rows of equal shapes."""
        return collate_rows

    def build_reduce(self, space: Space) -> Callable[[nn.Module, Any, Any], dict[str, torch.Tensor]]:
        """Return what makes predictions of logits.

        Args:
            space: single label: "prediction" int64 [B], "probabilities" float32 [B, C] (softmax);
                multi label: "prediction" 0/1 int64 [B, C] at 0.5, "probabilities" [B, C] (sigmoid);
                regression: "prediction" float32 [B], or [B, K] with several targets.
        """
        return REDUCE[space.problem_type]

    def tabulate(self, reduced: Arrays, space: Space) -> tuple[dict[str, Any], np.ndarray]:
        """Return the columns of the table of predictions, and a row each how bad the mistake is.

        The columns are, by problem type:
            single-label   label, prediction (class names), probability (of the prediction), probabilities
            multi-label    label, prediction (lists of class names), probabilities
            regression     label, prediction (numbers, or lists of numbers)
        """
        names = np.array(space.names, dtype=object)
        truth, prediction = reduced["labels"], reduced["prediction"]
        if space.problem_type == REGRESSION:
            distance = np.abs(prediction - truth).reshape(len(truth), -1).max(axis=1)
            return {"label": truth.tolist(), "prediction": prediction.tolist()}, distance
        probabilities = reduced["probabilities"]
        if space.problem_type == MULTI:
            distance = np.abs(probabilities - truth).max(axis=1)
            return {
                "label": [names[row > 0].tolist() for row in truth],
                "prediction": [names[row > 0].tolist() for row in prediction],
                "probabilities": probabilities.tolist(),
            }, np.where((prediction != truth).any(axis=1), distance, 0.0)
        probability = probabilities[np.arange(len(prediction)), prediction]
        return {
            "label": names[truth].tolist(),
            "prediction": names[prediction].tolist(),
            "probability": probability.tolist(),
            "probabilities": probabilities.tolist(),
        }, np.where(prediction != truth, probability, 0.0)

    def table_types(self, space: Space) -> Mapping[str, pa.DataType]:
        """Return the types of the columns of `tabulate`."""
        one, number = _prediction_type(space), pa.float64()
        if space.problem_type == REGRESSION:
            return {"label": one, "prediction": one}
        sure = {"probability": number} if space.problem_type == SINGLE else {}
        return {"label": one, "prediction": one, **sure, "probabilities": pa.list_(number)}

    def answer_types(self, space: Space) -> Mapping[str, pa.DataType]:
        """Return the types of what `say` answers."""
        types = {"prediction": _prediction_type(space)}
        if space.problem_type == REGRESSION:
            return types
        classes = pa.struct([(name, pa.float64()) for name in space.names])
        sure = {"probability": pa.float64()} if space.problem_type == SINGLE else {}
        return {**types, **sure, "probabilities": classes}

    def say(self, row: Arrays, space: Space) -> dict[str, Any]:
        """Name the classes of one file, with their probabilities."""
        if space.problem_type == REGRESSION:
            return {"prediction": row["prediction"].tolist()}
        probabilities = dict(zip(space.names, row["probabilities"].tolist(), strict=True))
        if space.problem_type == MULTI:
            chosen = [name for name, on in zip(space.names, row["prediction"], strict=True) if on]
            return {"prediction": chosen, "probabilities": probabilities}
        name = space.names[int(row["prediction"])]
        return {"prediction": name, "probability": probabilities[name], "probabilities": probabilities}


def _prediction_type(space: Space) -> pa.DataType:
    """Return what a label or a prediction is in a table: a name, a list of names, a number or several."""
    if space.problem_type == REGRESSION:
        return pa.list_(pa.float64()) if space.num_labels > 1 else pa.float64()
    return pa.list_(pa.string()) if space.problem_type == MULTI else pa.string()


def _reduce_single(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
    logits = outputs.logits.float()
    return {"prediction": logits.argmax(-1), "probabilities": logits.softmax(-1)}


def _reduce_multi(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
    probabilities = outputs.logits.float().sigmoid()
    return {"prediction": (probabilities >= 0.5).long(), "probabilities": probabilities}


def _reduce_regression(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
    numbers = outputs.logits.float()
    return {"prediction": numbers.squeeze(-1) if numbers.shape[-1] == 1 else numbers}


REDUCE: dict[str, Callable[[nn.Module, Any, Any], dict[str, torch.Tensor]]] = {
    SINGLE: _reduce_single,
    MULTI: _reduce_multi,
    REGRESSION: _reduce_regression,
}


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
