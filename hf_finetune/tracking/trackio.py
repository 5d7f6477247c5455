"""trackio: a database in the run folder, unless TRACKIO_DIR or training.trackio_space_id says otherwise."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TrackioCallback

from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking.base import Session, Tracker, flatten_numbers
from hf_finetune.tracking.parameters import flatten_recipe

__all__ = ["Trackio", "start"]

DIR = "TRACKIO_DIR"


class Trackio(Tracker):
    """A run of trackio, its current one until it is closed.

    Args:
        project: The run belongs to.
    """

    def __init__(self, project: str) -> None:
        import trackio

        self.trackio, self.project = trackio, project
        self.folder = trackio.utils.TRACKIO_DIR
        self.callback = _TrackioCallback()

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Log the scores of the best model."""
        self.trackio.log(flatten_numbers(scores))

    def close(self, error: BaseException | None) -> None:
        """End the run, and do what its callback does after training."""
        self.callback.end()

    def place(self) -> str:
        """Return the command that shows it."""
        return f"{DIR}={self.folder} trackio show --project {self.project}"


class _TrackioCallback(TrackioCallback):  # type: ignore[misc]  # transformers has no types
    """transformers' callback on a run that is set up already, and that ends after the results.

    Its own set-up (transformers 5.23) names a run after `run_name` alone and goes on with any of that name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._initialized = True
        self._space_id = self._trackio.context_vars.current_space_id.get()
        self.ending: tuple[Any, ...] | None = None

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Remember what the end needs: the results come first."""
        self.ending = (args, state, control, model)

    def end(self) -> None:
        """End the run: after training as transformers does it, else at once."""
        if self.ending is None:
            self._trackio.finish()
        else:
            super().on_train_end(*self.ending)


def start(session: Session) -> Trackio:
    """Begin the run, or go on with it."""
    # read once, when trackio is imported: the runs of one process share the folder of the first
    os.environ.setdefault(DIR, str(session.own_folder("trackio").resolve()))
    import trackio

    args, memory = session.args, session.memory
    name = memory.setdefault("name", f"{args.run_name or session.name}-{uuid.uuid4().hex[:8]}")
    trackio.init(
        project=args.project,
        name=name,
        space_id=args.trackio_space_id,
        private=args.hub_private_repo,
        bucket_id=args.trackio_bucket_id,
        resume="allow",
        config=flatten_recipe(session.recipe),
        embed=False,
    )
    return Trackio(args.project)
