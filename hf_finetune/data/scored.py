"""One split, numbered as a trained model does, ready to be scored; of the others nothing is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from hf_finetune.data.build import find_usual_eval, read_column
from hf_finetune.data.columns import find_columns, pick_columns
from hf_finetune.data.layout import name_splits
from hf_finetune.data.load import load_splits, take_split
from hf_finetune.data.overlap import count_shared
from hf_finetune.data.ready import make_scored
from hf_finetune.data.rows import Rows
from hf_finetune.data.usable import divide, read_usable
from hf_finetune.errors import DataError
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.matching import Unknown
from hf_finetune.tasks.values import Matched, Space

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["Asked", "ScoredSplit", "build_scored"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which rows a user wants scored.

    Args:
        split: "eval" or "test"; None takes the test split, or the only one of another data set.
        is_other: Whether the data are others than the run's.
        names_split: Whether the user names the split by `data.splits`, for these very data.
        is_divided_anew: Whether the user says another seed, or another share, than held rows out in training.
        num_divided: Rows of the run's training and evaluation split together; None where that is not known.
    """

    split: str | None
    is_other: bool
    names_split: bool
    is_divided_anew: bool
    num_divided: int | None


@dataclass(frozen=True, kw_only=True)
class ScoredSplit:
    """What is scored.

    Args:
        name: "eval" or "test".
        rows: Ready for the model.
        matched: The targets of all rows of the split that was loaded.
        dropped: Split -> (row, reason) of the rows that could not be used, when the recipe says to drop them.
        notes: What was chosen, a sentence each, to be shown to the user.
    """

    name: str
    rows: Rows
    matched: Matched
    dropped: Mapping[str, list[tuple[int, str]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def unknown_labels(self, start: int, stop: int) -> np.ndarray | None:
        """Return which classes some rows have that the model has not: 0 or 1, [B, U]; None for no row."""
        if self.matched.unknown_labels is None:
            return None
        return np.asarray(self.matched.unknown_labels.take(self.rows.raw.rows[start:stop]), np.int64)


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """A split expression, what its rows are for, and whether they are those that training held out of it."""

    name: str
    expression: str
    note: str = ""
    is_held_out: bool = False


def build_scored(
    recipe: Recipe,
    task: Task,
    processor: Any,
    space: Space,
    *,
    asked: Asked,
    unknown: Unknown,
    seed: int,
) -> ScoredSplit:
    """Load, number and prepare the one split that is to be scored.

    Args:
        recipe: Of the run, with what the user says otherwise.
        task: Of the trained model.
        processor: Of the trained model.
        space: What the trained model can say.
        asked: Which rows.
        unknown: What to do about rows of classes that the model does not know.
        seed: Of the run: it decided which rows were held out.

    Raises:
        DataError: Which split is meant cannot be told; its columns, labels or rows are not as they must be.
        HubError: The data set is on the Hub and cannot be read.
    """
    loaded = load_splits(_read_only(recipe, asked))
    choice = _choose(recipe, loaded, asked)
    key = f"data.splits.{'train' if choice.is_held_out else choice.name}"
    source = take_split(loaded, choice.expression, where=recipe.where(key))
    columns = find_columns(recipe, task, source)
    _, label_column = pick_columns(task, columns)
    matched = task.match_targets(
        read_column(source, label_column),
        source.features[label_column],
        space,
        split=choice.name,
        unknown=unknown,
        processor=processor,
        where=recipe.where,
    )
    targets = {choice.name: matched.targets}
    usable, dropped = read_usable(
        recipe,
        task,
        processor,
        {choice.name: source},
        columns,
        targets,
        space,
        {choice.name: choice.expression},
    )
    raw = usable[choice.name]
    if choice.is_held_out:
        _require_same_division(recipe, asked, len(raw))
        raw = divide(raw, recipe, seed)[1]
    rows = make_scored(raw, task, processor, name=choice.name, num_proc=recipe.data.num_proc)
    notes = [choice.note] if choice.note else []
    if not asked.is_other and not choice.is_held_out:
        notes += _tell_seen(
            recipe.data.splits.train, choice, {name: len(split) for name, split in loaded.items()}
        )
    return ScoredSplit(name=choice.name, rows=rows, matched=matched, dropped=dropped, notes=tuple(notes))


def _choose(recipe: Recipe, loaded: datasets.DatasetDict, asked: Asked) -> _Choice:
    """Choose what is meant, or ask; the rows that a model has learnt from are never scored unasked."""
    splits, name = recipe.data.splits, asked.split or "test"
    given = splits.test if name == "test" else splits.eval
    if given is not None and (asked.names_split or not asked.is_other):
        return _Choice(name=name, expression=given)
    usual = find_usual_eval(loaded) if name == "eval" else "test" if "test" in loaded else None
    if not asked.is_other and usual in name_splits(splits.train):
        usual = None
    if given is not None:  # what it was in the run's data it need not be in these
        if "[" in given or (given in loaded and usual not in (given, None)):
            raise _ask(loaded, recipe, name, f"the run took {given!r} of its own data")
        usual = given if given in loaded else usual
    if usual is not None:
        return _Choice(name=name, expression=usual, note=f"{name}: the data set's split {usual!r}")
    if given is None and name == "eval" and loaded.keys() >= {*name_splits(splits.train)}:
        note = f"eval: the rows of {splits.train} that were held out in training"
        return _Choice(name=name, expression=splits.train, note=note, is_held_out=True)
    if asked.is_other and len(loaded) == 1:
        (only,) = loaded
        return _Choice(name=name, expression=only, note=f"{name}: the data set's only split, {only!r}")
    why = f"the run has no split {name!r}" if given is None else f"the run took {given!r} of its own data"
    raise _ask(loaded, recipe, name, why)


def _tell_seen(train: str, choice: _Choice, lengths: Mapping[str, int]) -> list[str]:
    """Say that a model is scored on rows of the split it has learnt from."""
    if not set(name_splits(train)) <= lengths.keys():
        return []
    shared = count_shared(train, choice.expression, lengths)
    told = (
        f"{choice.name}: {shared:,} of these rows are in the split that the model was trained on ({train}): "
    )
    return [f"{told}they say nothing about data it has not seen"] if shared else []


def _require_same_division(recipe: Recipe, asked: Asked, num_rows: int) -> None:
    """Refuse to hold out other rows than in training: a model would be scored on what it learnt from."""
    todo = "Leave training.seed and data as they were, or name a split: data.splits.eval=SPLIT."
    if asked.is_divided_anew:
        what = "training.seed and data.holdout decided which rows were held out of training"
        raise DataError(what, where=recipe.where("data.holdout"), todo=todo)
    if num_rows != asked.num_divided and (asked.is_other or asked.num_divided is not None):
        what = f"rows were held out of {asked.num_divided} in training, and here are {num_rows}"
        if asked.num_divided is None:
            what = "it is not known that rows of this data set were held out in training"
        raise DataError(what, where=recipe.where("data.splits"), todo=todo)


def _ask(loaded: datasets.DatasetDict, recipe: Recipe, name: str, why: str) -> DataError:
    its = ", ".join(f"{split!r} ({len(rows)} rows)" for split, rows in loaded.items())
    other = "use --split eval, or " if name == "test" else ""
    return DataError(
        f"which rows are to be scored? {why}, and this data set has {its}",
        where=recipe.where(f"data.splits.{name}"),
        todo=f"Name them: {other}data.splits.{name}=SPLIT.",
    )


def _read_only(recipe: Recipe, asked: Asked) -> Recipe:
    """Leave out the files of other splits where the recipe says which files those are."""
    files, splits = recipe.data.data_files, recipe.data.splits
    name = asked.split or "test"
    given = splits.test if name == "test" else splits.eval
    if not isinstance(files, Mapping) or given is None:
        return recipe
    kept = {split: paths for split, paths in files.items() if split in name_splits(given)}
    if not kept:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"data_files": kept})})
