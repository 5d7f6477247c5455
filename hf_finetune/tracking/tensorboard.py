"""TensorBoard: event files in the run folder, those of a resumed run in the same one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking.base import Session, Tracker, flatten_numbers
from hf_finetune.tracking.parameters import describe_recipe

__all__ = ["TensorBoard", "start"]


class TensorBoard(Tracker):
    """Event files.

    Args:
        folder: Takes them.
        recipe: What the run was told, as text.
    """

    def __init__(self, folder: Path, recipe: str) -> None:
        self.folder = folder
        self.callback = _TensorBoardCallback(folder, recipe)

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Add the scores of the best model, at its update."""
        with SummaryWriter(str(self.folder)) as writer:
            for name, value in flatten_numbers(scores).items():
                writer.add_scalar(name, value, scores["best"]["step"])

    def close(self, error: BaseException | None) -> None:
        """Write what is still in memory."""
        self.callback.on_train_end(None, None, None)

    def place(self) -> str:
        """Return the command that shows it."""
        return f"tensorboard --logdir {self.folder}"


class _TensorBoardCallback(TensorBoardCallback):  # type: ignore[misc]  # transformers has no types
    """transformers' callback with the writer of this run: its own folder is named after host and minute."""

    def __init__(self, folder: Path, recipe: str) -> None:
        super().__init__()
        self.folder, self.recipe = folder, recipe

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # what an earlier session has logged after this update is replaced
        again = state.global_step + 1 if state.global_step else None
        self.tb_writer = SummaryWriter(str(self.folder), purge_step=again)
        self.logging_dir = str(self.folder)
        super().on_train_begin(args, state, control, **kwargs)
        self.tb_writer.add_text("recipe", self.recipe)


def start(session: Session) -> TensorBoard:
    """Choose the folder: in the run folder, or where TENSORBOARD_LOGGING_DIR says."""
    given = os.environ.get("TENSORBOARD_LOGGING_DIR")
    folder = Path(given).expanduser() if given else session.own_folder("tensorboard")
    return TensorBoard(folder, describe_recipe(session.recipe))
