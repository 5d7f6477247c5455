"""What a task is: everything that differs between classifying images, classifying sounds, writing text ...

A task is one file with one decorator: `@TASKS.register("image-classification")` over a subclass of `Task`.
The data package calls it in this order, and knows nothing else about it:

    roles              which columns it needs, and which features can fill them
    build_targets      the label column -> what a model can say, and numbers
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

from hf_finetune.registry import Registry

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pyarrow as pa
    import torch
    from PIL import Image
    from torch import nn

    from hf_finetune.recipe import NamedSpec, Recipe, TaskSpec

__all__ = [
    "TASKS",
    "Arrays",
    "Decode",
    "Fetch",
    "Forward",
    "Preparation",
    "Role",
    "Row",
    "Space",
    "Targets",
    "Task",
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


class Space(Protocol):
    """What a model can say: some classes, numbers, or text. Metrics and losses know it, too."""

    @property
    def problem_type(self) -> str:
        """One of transformers' three problem types, or "ctc" or "seq2seq" for text."""
        ...

    @property
    def num_labels(self) -> int:
        """Outputs of the model: classes, targets of a regression, tokens of the vocabulary."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The names of the classes; empty where there are none."""
        ...

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
    """

    function: Callable[[list[Any]], dict[str, list[Any]]]
    read: Callable[[pa.Table, Fetch], list[Row]]
    features: datasets.Features
    key: str


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
        roles: The columns; the input first, then the label, then those that are optional.
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

    @abstractmethod
    def say(self, row: Arrays, space: Space) -> dict[str, Any]:
        """Return what `predict` answers for one file.

        Args:
            row: One row of a batch as `reduce` and `decode` left it.
            space: What the model can say.
        """

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
