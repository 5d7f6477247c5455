"""Decoded rows -> rows ready for the engine: augmented for training, transformed, or kept ready."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_finetune.augment import Chain, build_augment
from hf_finetune.augment.sounds import RandomClip
from hf_finetune.data.kept import keep_inputs
from hf_finetune.data.rows import RawRows, Rows
from hf_finetune.tasks.base import Task
from hf_finetune.tasks.values import Row

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["make_ready", "make_scored"]

logger = logging.getLogger(__name__)

NUM_SAMPLES = 4
"""Decoded rows a task may check its shortcuts on."""


def make_ready(
    raw: Mapping[str, RawRows],
    recipe: Recipe,
    task: Task,
    processor: Any,
    *,
    augment: Chain | None,
    seed: int,
) -> dict[str, Rows]:
    """Return the rows of every split as the engine wants them.

    Args:
        raw: The rows of every split; "train" is augmented.
        recipe: Reads `data.num_proc`.
        task: Of the recipe.
        processor: Of the recipe's checkpoint.
        augment: What the recipe says in `data.augment`.
        seed: Of the augmentation.
    """
    train = raw["train"]
    lengths = train.lengths()
    always = build_augment(
        task.always_augment(processor, 0 if lengths is None else int(lengths.max())),
        modality=task.modality,
        where=recipe.where,
    )
    steps = tuple(step for chain in (always, augment) if chain is not None for step in chain.steps)
    samples = train.decode(train.rows[:NUM_SAMPLES])
    ready = {}
    for name, rows in raw.items():
        build = task.build_transform if name == "train" else task.build_eval_transform
        transform = build(processor, samples)
        own = Chain(steps) if name == "train" and steps else None
        # what is augmented differs from epoch to epoch
        kept = None if own else keep_inputs(rows, transform, name=name, num_proc=recipe.data.num_proc)
        longest = _find_longest(own, samples[0]) if own else None
        ready[name] = Rows(rows, transform, augment=own, kept=kept, longest=longest, seed=seed)
    return ready


def make_scored(rows: RawRows, task: Task, processor: Any, *, name: str, num_proc: int | None) -> Rows:
    """Return rows as an evaluation wants them.

    Args:
        rows: Of the split.
        task: Of the trained model.
        processor: Of the trained model.
        name: Of the split, for the progress bar.
        num_proc: Processes; None works in this one.
    """
    transform = task.build_eval_transform(processor, rows.decode(rows.rows[:NUM_SAMPLES]))
    return Rows(rows, transform, kept=keep_inputs(rows, transform, name=name, num_proc=num_proc))


def _find_longest(augment: Chain, row: Row) -> int | None:
    """Return the samples that are left of a clip at most."""
    cuts = [step.seconds for step in augment.steps if isinstance(step, RandomClip) and step.p == 1]
    return round(min(cuts) * row["sampling_rate"]) if cuts else None
