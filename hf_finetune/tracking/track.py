"""Start all trackers of a run, and end them however the run ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainingArguments

from hf_finetune.errors import UserError
from hf_finetune.processes import is_first_process
from hf_finetune.recipe import Recipe
from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking.base import Session, Tracker
from hf_finetune.tracking.require import list_trackers, start_tracker

__all__ = ["Trackers", "track"]

logger = logging.getLogger(__name__)


class Trackers:
    """The trackers of one run, together; none in other processes than the first."""

    def __init__(self, trackers: Mapping[str, Tracker] | None = None) -> None:
        self._trackers = dict(trackers or {})

    @property
    def callbacks(self) -> list[TrainerCallback]:
        """For the engine."""
        return [tracker.callback for tracker in self._trackers.values()]

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Give every tracker what the run has found; one that fails costs neither the run nor the others."""
        for name, tracker in self._trackers.items():
            with _only_warn(name):
                tracker.log_results(folder, scores)

    def close(self, error: BaseException | None) -> None:
        """End every tracker."""
        for name, tracker in self._trackers.items():
            with _only_warn(name):
                tracker.close(error)


@contextmanager
def track(recipe: Recipe, args: TrainingArguments, folder: RunFolder) -> Iterator[Trackers]:
    """Start the trackers that a recipe names and end them with the block: also after an error or a signal.

    A resumed run goes on with the experiments whose keys are in the run folder. Called by all processes.

    Args:
        recipe: Resolved.
        args: Of the training.
        folder: Of the run; a new run's is cleared already.

    Raises:
        UserError: A tracker cannot be started; no process has begun to train.
    """
    names = list_trackers(recipe)
    if not names:
        yield Trackers()
        return
    memories = folder.load_trackers()
    started: dict[str, Tracker] = {}
    problem: UserError | None = None
    if is_first_process():
        try:
            for name in names:
                memory = memories.setdefault(name, {})
                session = Session(
                    recipe=recipe, args=args, folder=folder, name=folder.path.resolve().name, memory=memory
                )
                started[name] = start_tracker(name, session)
                memory["place"] = started[name].place()
        except UserError as error:
            problem = error
    # the others must not wait for a first process that has given up
    problem = broadcast_object_list([problem])[0]
    trackers = Trackers(started)
    if problem is not None:
        trackers.close(problem)
        raise problem
    if is_first_process():
        folder.save_trackers(memories)
    try:
        yield trackers
    except BaseException as stop:
        trackers.close(stop)
        for name in started:
            logger.info("%s: %s", name, memories[name]["place"])
        raise
    trackers.close(None)


@contextmanager
def _only_warn(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.warning("%s: %s: %s; the run itself is not touched", name, type(error).__name__, error)
