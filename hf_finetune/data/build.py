"""Recipe -> train, eval and test, ready for the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from hf_finetune.augment import build_augment
from hf_finetune.data.columns import find_columns, pick_columns
from hf_finetune.data.cuts import BOUNDS
from hf_finetune.data.duplicates import Duplicates, find_duplicates
from hf_finetune.data.layout import find_split
from hf_finetune.data.load import load_splits, take_split
from hf_finetune.data.local import EVAL_NAMES
from hf_finetune.data.overlap import find_overlaps
from hf_finetune.data.ready import make_ready
from hf_finetune.data.rows import RawRows, Rows
from hf_finetune.data.usable import divide, read_usable
from hf_finetune.errors import DataError
from hf_finetune.secrecy import hide_secrets
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.features import label_kind
from hf_finetune.tasks.values import Space

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["Splits", "build_datasets", "check_batch_size", "find_usual_eval", "read_column"]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The data of a run.

    Args:
        train: Augmented; `set_epoch` changes how.
        eval: The validation rows, or those held out of the training split.
        test: None when the recipe names none.
        labels: What there is to say.
        columns: Role -> column, with those that were inferred.
        fingerprint: Of the contents: pixels, labels and their order; the same on every machine.
        dropped: Split -> (row, reason) of the rows that could not be used, when the recipe says to drop them.
        notes: What was inferred, a sentence each, to be shown to the user.
        overlaps: What is wrong with scores of splits that are the same rows, a sentence each.
        duplicates: Inputs that are in several rows.
    """

    train: Rows
    eval: Rows
    test: Rows | None
    labels: Space
    columns: Mapping[str, str]
    fingerprint: str
    dropped: Mapping[str, list[tuple[int, str]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()
    duplicates: tuple[Duplicates, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Return what one must know of the data before believing the scores, a sentence each."""
        return [*self.overlaps, *map(str, self.duplicates)]

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of rows of every split there is."""
        named = {"train": self.train, "eval": self.eval, "test": self.test}
        return {name: len(split) for name, split in named.items() if split is not None}

    def count_labels(self) -> list[int]:
        """Return the number of training rows of each class.

        Raises:
            DataError: The rows have no class, or several each.
        """
        counts = self.count_classes()
        if counts is None:
            raise DataError(
                "class_weights: balanced needs one class per row", todo="Give the weights as a list."
            )
        return counts

    def count_classes(self) -> list[int] | None:
        """Return the same; None where rows have no class, or several each."""
        raw = self.train.raw
        classes = raw.targets.classes
        if classes is None:
            return None
        counts: list[int] = np.bincount(classes[raw.rows], minlength=self.labels.num_labels).tolist()
        return counts

    def facts(self, name: str, task: Task) -> dict[str, list[Any]]:
        """Return what the table of predictions says of rows beside the predictions: lengths, group."""
        raw = self.raw(name)
        lengths = raw.split.lengths()
        found = {} if lengths is None else task.facts(lengths[raw.rows])
        columns = {column: values.tolist() for column, values in found.items()}
        if "group" in self.columns:
            values = raw.split.source.with_format("arrow")[raw.rows][self.columns["group"]]
            columns["group"] = [hide_secrets(str(value)) for value in values.to_pylist()]
        return columns

    def raw(self, name: str) -> RawRows:
        """Return a split's decoded rows, in the order of the split."""
        split: Rows | None = getattr(self, name)
        if split is None:
            raise KeyError(name)
        return split.raw


def build_datasets(recipe: Recipe, task: Task, processor: Any, *, seed: int) -> Splits:
    """Load, divide, prepare and augment what the recipe's `data` says.

    Args:
        recipe: As `load_recipe` returns it.
        task: Of the recipe.
        processor: Of the recipe's checkpoint.
        seed: Decides which rows are held out, and the augmentation.

    Raises:
        DataError: Something about the data set, its columns, splits or rows is not as it must be.
        HubError: The data set is on the Hub and cannot be read.
    """
    augment = build_augment(recipe.data.augment, modality=task.modality, where=recipe.where)
    loaded = load_splits(recipe)
    expressions, notes = _choose_splits(recipe, loaded)
    sources = {
        name: take_split(loaded, expression, where=recipe.where(f"data.splits.{name}"))
        for name, expression in expressions.items()
    }
    overlaps, doubled = find_overlaps(expressions, {name: len(rows) for name, rows in loaded.items()}, recipe)
    notes += doubled
    notes += _tell_split_column(sources["train"])
    columns = find_columns(recipe, task, sources["train"])
    _, label_column = pick_columns(task, columns)
    _check_features(sources, columns, recipe)
    labels, targets = task.build_targets(
        {name: read_column(source, label_column) for name, source in sources.items()},
        sources["train"].features[label_column],
        processor=processor,
        where=recipe.where,
    )
    raw, dropped = read_usable(recipe, task, processor, sources, columns, targets, labels, expressions)
    if "eval" not in raw:
        raw["train"], raw["eval"] = divide(raw["train"], recipe, seed)
        notes.append(f"eval: {len(raw['eval'])} rows held out of train (seed {seed})")
    notes += _name_unseen_classes(raw["train"], labels)
    ready = make_ready(raw, recipe, task, processor, augment=augment, seed=seed)
    return Splits(
        train=ready["train"],
        eval=ready["eval"],
        test=ready.get("test"),
        labels=labels,
        columns=columns,
        fingerprint=_fingerprint(raw, labels),
        dropped=dropped,
        notes=tuple(notes),
        overlaps=tuple(dict.fromkeys(overlaps.values())),
        duplicates=tuple(find_duplicates(raw, labels, skip=overlaps)),
    )


def check_batch_size(splits: Splits, batch_size: int, *, where: str | None = None) -> None:
    """Refuse a batch, over all processes, that is larger than the training split.

    Raises:
        DataError: With drop_last no batch would be left, and without it every "batch" is the whole split.
    """
    if batch_size > len(splits.train):
        raise DataError(
            f"a batch of {batch_size} is larger than the training split ({len(splits.train)} rows)",
            where=where,
            todo="Lower per_device_train_batch_size, or use fewer processes.",
        )


def read_column(source: datasets.Dataset, column: str) -> Any:
    """Return a column as Arrow holds it; nothing is decoded."""
    return source.with_format("arrow").select_columns(column)[:][column]


def _choose_splits(recipe: Recipe, loaded: datasets.DatasetDict) -> tuple[dict[str, str], list[str]]:
    given = recipe.data.splits
    chosen = {"train": given.train}
    notes = []
    usual = find_usual_eval(loaded)
    if given.eval is not None:
        chosen["eval"] = given.eval
    elif usual is not None:
        chosen["eval"] = usual
        notes.append(f"eval: the data set's split {usual!r}")
    if given.test is not None:
        chosen["test"] = given.test
    return chosen, notes


def find_usual_eval(loaded: Mapping[str, Any]) -> str | None:
    """Return the split that is taken for the evaluation when the recipe names none."""
    return next((name for name in EVAL_NAMES if name in loaded), None)


def _check_features(
    sources: Mapping[str, datasets.Dataset], columns: Mapping[str, str], recipe: Recipe
) -> None:
    """Every split must have the training split's columns, with the same features."""
    train = sources["train"].features
    for name, source in sources.items():
        for role, column in columns.items():
            place = recipe.where(f"data.splits.{name}")
            if column not in source.features:
                raise DataError(f"the {name} split has no column {column!r} ({role})", where=place)
            if source.features[column] != train[column] and role not in BOUNDS:
                raise DataError(
                    f"the column {column!r} ({role}) is {source.features[column]} in the {name} split "
                    f"but {train[column]} in the training split",
                    where=place,
                    todo="Give both splits the same features, class names in the same order included.",
                )


def _tell_split_column(rows: datasets.Dataset) -> list[str]:
    """Say that a column which looks like it decides nothing about which row is in which split."""
    for name in ("split", "subset", "partition"):
        if name in rows.column_names and label_kind(rows.features[name]) == ("text", False):
            said = [value for value in read_column(rows, name).unique().to_pylist() if value]
            if len(said) > 1 and all(map(find_split, said)):
                listed = ", ".join(map(repr, said))
                return [f"train: all its rows are used, whatever the column {name!r} says of them ({listed})"]
    return []


def _name_unseen_classes(train: RawRows, labels: Space) -> list[str]:
    """Say which classes no training row has: a model can only guess at them."""
    classes = train.targets.classes
    if classes is None:
        return []
    unseen = [labels.names[i] for i in np.setdiff1d(np.arange(labels.num_labels), classes[train.rows])]
    more = " ..." if len(unseen) > 5 else ""
    return [f"train: no row is labelled {', '.join(unseen[:5])}{more}"] if unseen else []


def _fingerprint(raw: Mapping[str, RawRows], labels: Space) -> str:
    content = hashlib.sha256(repr(labels).encode())
    for name, rows in raw.items():
        content.update(name.encode())
        content.update(rows.split.digests()[rows.rows].tobytes())
        content.update(rows.targets.content(rows.rows))
    return content.hexdigest()[:16]
