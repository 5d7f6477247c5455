"""Pushes while training: `hub.strategy` other than end, alike from both engines."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_finetune.errors import HubError
from hf_finetune.hub.job import Job
from hf_finetune.hub.upload import Upload

__all__ = ["PushWhileTraining", "Strategy"]

logger = logging.getLogger(__name__)

Strategy = Literal["end", "every_save", "checkpoint", "all_checkpoints"]
FOLDER = ".pushing-{step}"

NOT_OF_THE_MODEL = ("trainer_state.json", "recipe_stamp.json", "manifest.json")
"""Files of a checkpoint that only training needs; so are all that are not text and not safetensors."""


@dataclass(frozen=True)
class _Waiting:
    """A snapshot of files that nobody changes, and which best checkpoint is in it."""

    upload: Upload
    folder: Path
    best: str | None


class PushWhileTraining(TrainerCallback):  # type: ignore[misc]
    """Push each new best model, and checkpoints where asked, without making training wait.

    One push goes on at a time, in a process of its own. A push that fails is told, and training goes on: the
    next one, or that at the end, has the same files in it. Only a checkpoint that is the best so far is put
    at the top of the repository.

    Args:
        strategy: every_save pushes each new best; checkpoint the last one, too, as last-checkpoint/;
            all_checkpoints every one under its own name.
        upload: Where to; `files`, `title` and `tag` are filled in here.
        describe: State -> title, tag and text files (name -> content) that go with a new best model.
    """

    def __init__(
        self,
        strategy: Strategy,
        upload: Callable[..., Upload],
        describe: Callable[[TrainerState, Path], tuple[str, str, Mapping[str, Path]]],
    ) -> None:
        self.strategy, self.upload, self.describe = strategy, upload, describe
        self.waiting: list[_Waiting] = []
        self.job: Job | None = None
        self.going: _Waiting | None = None
        self.best_pushed: str | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove what a crash left."""
        if state.is_world_process_zero:
            for folder in Path(args.output_dir).glob(FOLDER.format(step="*")):
                shutil.rmtree(folder, ignore_errors=True)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take a snapshot of what is to be pushed, and start the push unless one is going on."""
        if not state.is_world_process_zero:
            return
        self._advance()
        run_folder = Path(args.output_dir)
        try:
            taken = self._take(run_folder, state)
        except OSError as error:
            logger.warning("update %d is not pushed: %s; training goes on", state.global_step, error)
            return
        if taken is None:
            return
        if self.strategy != "all_checkpoints":
            while self.waiting:  # what a later snapshot replaces; it has the best model in it, too
                shutil.rmtree(self.waiting.pop().folder, ignore_errors=True)
        self.waiting.append(taken)
        self._advance()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start a push that waits for the one before."""
        if state.is_world_process_zero:
            self._advance()

    def finish(self) -> None:
        """Wait for what is going on and, where every checkpoint is asked for, for what waits.

        Best models that wait are left to the push at the end.
        """
        while self.job is not None or (self.waiting and self.strategy != "end"):
            self._advance()
            if self.job is not None:
                self._end(self.job)

    def stop(self) -> None:
        """End what is going on: the run was stopped or failed, and nobody waits for it."""
        if self.job is not None:
            self.job.stop()
        for one in [*self.waiting, *([self.going] if self.going else [])]:
            shutil.rmtree(one.folder, ignore_errors=True)
        self.job, self.going, self.waiting = None, None, []

    def _take(self, run_folder: Path, state: TrainerState) -> _Waiting | None:
        """Link the files to a folder of their own: a checkpoint may be deleted while it is pushed."""
        step = state.global_step
        best = state.best_model_checkpoint
        is_new = best is not None and best != self.best_pushed and Path(best).is_dir()
        if not is_new and self.strategy == "every_save":
            return None
        folder = run_folder / FOLDER.format(step=step)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files: dict[str, Path] = {}
        title, tag = f"Checkpoint of update {step}", None
        if is_new and best is not None:
            title, tag, texts = self.describe(state, folder)
            files |= _link(_model_files(Path(best)), folder / "best", prefix="")
            files |= texts
        names = {"checkpoint": "last-checkpoint", "all_checkpoints": f"checkpoint-{step}"}
        if name := names.get(self.strategy):
            source = run_folder / f"checkpoint-{step}"
            files |= _link(sorted(source.iterdir()), folder / name, prefix=f"{name}/")
        upload = self.upload(files=files, title=title, tag=tag)
        return _Waiting(upload=upload, folder=folder, best=best if is_new else None)

    def _advance(self) -> None:
        """Take note of a push that has ended, and start the next."""
        if self.job is not None and not self.job.is_running:
            self._end(self.job)
        if self.job is None and self.waiting:
            self.going = self.waiting.pop(0)
            self.job = Job(self.going.upload, self.going.folder)

    def _end(self, job: Job) -> None:
        try:
            job.wait()
        except HubError as error:
            logger.warning("%s: %s. Training goes on; the push at the end decides", job.upload.title, error)
        else:
            logger.info("pushed to %s: %s", job.upload.repo_id, job.upload.title)
            if self.going is not None and self.going.best is not None:
                self.best_pushed = self.going.best
        if self.going is not None:
            shutil.rmtree(self.going.folder, ignore_errors=True)
        self.job, self.going = None, None


def _model_files(checkpoint: Path) -> list[Path]:
    """Return what `from_pretrained` reads: weights, config, processor; no pickle."""
    kinds = (".json", ".safetensors", ".txt", ".model", ".jinja", ".py")
    return sorted(
        path
        for path in checkpoint.iterdir()
        if path.is_file() and path.suffix in kinds and path.name not in NOT_OF_THE_MODEL
    )


def _link(paths: list[Path], folder: Path, *, prefix: str) -> dict[str, Path]:
    """Give files a second name that outlives the first; where the disk has no such thing, copy them."""
    folder.mkdir(parents=True)
    linked = {}
    for path in paths:
        target = folder / path.name
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
        linked[f"{prefix}{path.name}"] = target
    return linked
