"""What a task is: everything that differs between classifying images, classifying sounds, writing text ...

A task is one file with one decorator: `@TASKS.register("image-classification")` over a subclass of `Task`.
The data package calls it in this order, and knows nothing else about it:

    roles              which columns it needs, and which features can fill them
    build_targets      the label column -> what a model can say, and numbers
    match_targets      the label column of any data set -> the numbers of a model that is trained
    build_preparation  raw values -> what is cached on disk (decoded, checked), once; and how it is read back
    always_augment     what every training row goes through, before the recipe's augmentations
    build_transform    decoded, augmented rows -> model inputs, a whole batch at a time
    build_collate      rows -> micro-batch

and the engine, the tables of predictions and `predict` what is made of the outputs:

    build_forward      a batch of an evaluation -> outputs of the model; by calling it where this is nothing
    build_reduce       outputs of the model -> a few numbers a row, on the device
    build_decode       these numbers -> text, on the main process; nothing where the numbers are all there is
    tabulate           -> columns of the table of predictions, and how bad each mistake is
    say                -> what `predict` answers for one file
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hf_finetune.errors import DataError
from hf_finetune.registry import Registry
from hf_finetune.tasks.values import (
    Arrays,
    Decode,
    Forward,
    Matched,
    Preparation,
    Role,
    Row,
    Space,
    Targets,
    Transform,
)

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from PIL import Image
    from torch import nn

    from hf_finetune.recipe import NamedSpec, Recipe, TaskSpec

__all__ = ["TASKS", "Task"]


class Task(ABC):
    """What is special about a task.

    Args:
        spec: The recipe's `task`, with the options of this task.

    Attributes:
        name: The pipeline tag of the Hub.
        modality: "image", "audio" ...; an augmentation says which it is for.
        auto_model: The class of transformers that loads the model.
        arguments: The class of transformers that takes the recipe's `training`.
        reads_outputs: Whether `reduce` looks at the outputs of a forward pass; not where it generates.
        roles: The columns; the input first, then the label, then those that are optional. Without a label the
            targets are made of the input.
    """

    name: ClassVar[str]
    modality: ClassVar[str]
    auto_model: ClassVar[str]
    arguments: ClassVar[str] = "TrainingArguments"
    reads_outputs: ClassVar[bool] = True
    roles: ClassVar[tuple[Role, ...]]

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @classmethod
    def for_recipe(cls, recipe: Recipe, *, trust_remote_code: bool = False) -> Task:
        """Return the task of a recipe; where one name means several kinds of model, the checkpoint's kind."""
        return cls(recipe.task)

    @abstractmethod
    def default_metrics(self, space: Space) -> list[NamedSpec]:
        """Return the metrics of a recipe that names none."""

    @abstractmethod
    def load_processor(self, recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
        """Load what turns decoded rows into model inputs, from the recipe's checkpoint at its revision.

        Raises:
            HubError: The Hub cannot be reached, does not know the checkpoint or does not let us in.
            ModelError: The checkpoint has no processor of this kind.
        """

    @abstractmethod
    def build_preparation(self, feature: Any, folders: Sequence[str], *, processor: Any) -> Preparation:
        """Say how the values of the input column are decoded and checked, and read back.

        Args:
            feature: Of the input column.
            folders: Where relative paths in the column may start.
            processor: As `load_processor` returned it; it knows the sampling rate of sounds.
        """

    @abstractmethod
    def build_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return what turns decoded rows into model inputs.

        Args:
            processor: As `load_processor` returned it.
            samples: A few decoded rows to check a shortcut on.
        """

    def build_eval_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return the same for rows that are evaluated or predicted."""
        return self.build_transform(processor, samples)

    def always_augment(self, processor: Any, longest: int) -> Sequence[NamedSpec]:
        """Return augmentations that training rows go through, whatever the recipe says.

        Args:
            processor: As `load_processor` returned it.
            longest: The largest "length" of a training row in the cache; 0 where rows have none.
        """
        return ()

    @abstractmethod
    def build_targets(
        self,
        columns: Mapping[str, pa.ChunkedArray],
        feature: Any,
        *,
        processor: Any,
        where: Callable[[str], str],
    ) -> tuple[Space, Mapping[str, Targets]]:
        """Turn the label columns of all splits, the training split's first, into numbers.

        Args:
            columns: Split -> label column.
            feature: Of the column, the same in all splits.
            processor: As `load_processor` returned it.
            where: Key of the recipe -> place, for messages.
        """

    @abstractmethod
    def read_space(self, kept: Mapping[str, Any], processor: Any) -> Space:
        """Return what the model of a finished run can say.

        Args:
            kept: `scores.json`, which has what `Space.to_json` returned.
            processor: Of the run's best model.
        """

    def match_targets(
        self,
        column: pa.ChunkedArray,
        feature: Any,
        space: Space,
        *,
        split: str,
        unknown: Literal["refuse", "wrong"],
        processor: Any,
        where: Callable[[str], str],
    ) -> Matched:
        """Turn the label column of any data set into numbers as a trained model knows them.

        A task that does not say how takes only data that give the very same space.

        Args:
            column: The labels of the split that is scored.
            feature: Of the column.
            space: What the model can say, as `read_space` returned it.
            split: Its name, for messages.
            unknown: Refuse rows of classes that the model does not know, or let them count as mistakes.
            processor: As `load_processor` returned it.
            where: Key of the recipe -> place, for messages.

        Raises:
            DataError: The labels are not those of the model.
        """
        found, targets = self.build_targets({split: column}, feature, processor=processor, where=where)
        if found.to_json() != space.to_json():
            raise DataError(
                f"{split}: the labels give {found.describe()}, and the model is for {space.describe()}",
                where=where("data.columns"),
                todo="Score the data with the labels that the model was trained on.",
            )
        return Matched(targets=targets[split])

    def judge(self, lengths: np.ndarray | None, targets: Targets, space: Space) -> list[tuple[int, str]]:
        """List the rows whose input and target do not go together: (row, reason).

        Args:
            lengths: [N] of the prepared inputs; None where they have none.
            targets: Of all rows.
            space: What the model can say.
        """
        return []

    def adapt_model(self, model: nn.Module, recipe: Recipe, *, from_scratch: bool) -> None:
        """Do to a model that was just built what is special about the task, before anything is frozen.

        Args:
            model: With the weights of the checkpoint, or random ones.
            recipe: Reads `model` and `training`.
            from_scratch: Whether the weights are random.
        """
        return

    def training_defaults(self) -> dict[str, Any]:
        """Return values of `training` that this task has when the recipe says nothing."""
        return {}

    def complete_processor(self, processor: Any, space: Space) -> Any:
        """Return the processor to save beside the model: a vocabulary made of the training text is new."""
        return processor

    @abstractmethod
    def build_collate(
        self, space: Space
    ) -> Callable[[Sequence[Mapping[str, torch.Tensor]]], dict[str, torch.Tensor]]:
        """Return what makes a micro-batch of rows of a data set; the targets are under "labels"."""

    def build_forward(self) -> Forward | None:
        """Return how an evaluation gets the model's outputs; None calls the model."""
        return None

    @abstractmethod
    def build_reduce(self, space: Space) -> Any:
        """Return the engine's `reduce`: outputs of the model -> what metrics and predictions need."""

    def build_predict_preparation(
        self, feature: Any, folders: Sequence[str], *, processor: Any
    ) -> Preparation:
        """Return `build_preparation` for files that are predicted, where there is no target to fit."""
        return self.build_preparation(feature, folders, processor=processor)

    def build_predict_forward(self) -> Forward | None:
        """Return `build_forward` for files that are predicted, which may be long."""
        return self.build_forward()

    def split_batch(self, rows: Sequence[Row]) -> list[list[int]]:
        """Return which of the rows that are predicted go through the model together: all of them."""
        return [list(range(len(rows)))]

    def build_predict_reduce(self, space: Space) -> Any:
        """Return the same for `predict`, which may be told more than metrics need, such as timestamps."""
        return self.build_reduce(space)

    def build_decode(self, space: Space) -> Decode | None:
        """Return what turns reduced token numbers into text; None where there is nothing to turn."""
        return None

    @abstractmethod
    def tabulate(self, reduced: Arrays, space: Space) -> tuple[dict[str, Any], np.ndarray]:
        """Return the columns of the table of predictions, and a row each how bad the mistake is, 0 for none.

        Args:
            reduced: A batch as `reduce` and `decode` left it, with "labels".
            space: What the model can say.
        """

    def table_types(self, space: Space) -> Mapping[str, pa.DataType]:
        """Return the types of columns of `tabulate`: a batch with nothing in a column does not show its type.

        Args:
            space: What the model can say.
        """
        return {}

    @abstractmethod
    def say(self, row: Arrays, space: Space) -> dict[str, Any]:
        """Return what `predict` answers for one file.

        Args:
            row: One row of a batch as `reduce` and `decode` left it.
            space: What the model can say.
        """

    def answer_types(self, space: Space) -> Mapping[str, pa.DataType]:
        """Return the types of what `say` answers, by name, for tables of them.

        Args:
            space: What the model can say.
        """
        return {}

    def facts(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Return further columns of the table of predictions, such as how long a clip is.

        Args:
            lengths: [N] of the prepared inputs.
        """
        return {}

    @abstractmethod
    def thumbnail(self, row: Row) -> Image.Image:
        """Draw a decoded row for the report."""

    def sound(self, row: Row) -> bytes | None:
        """Return a decoded row as a small sound file for the report; None where there is nothing to hear."""
        return None


TASKS: Registry[type[Task]] = Registry("task")
"""Tasks by name; `Task.for_recipe` makes one."""
