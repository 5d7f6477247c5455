"""Weights & Biases: offline in the run folder, unless WANDB_MODE says otherwise."""

from __future__ import annotations

import netrc
import os
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

import wandb
from transformers.integrations import WandbCallback

from hf_finetune.errors import HfFinetuneError, UserError
from hf_finetune.recipe import Recipe
from hf_finetune.run_folder import RunFolder
from hf_finetune.secrecy import hide_in
from hf_finetune.tracking.base import Session, Tracker, flatten_numbers

__all__ = ["Wandb", "require", "start"]

OFFLINE = "Or leave WANDB_MODE out: the run is then kept in the run folder, to be sent later by `wandb sync`."
TIMEOUT_S = 10


class Wandb(Tracker):
    """A run of W&B.

    Args:
        run: Just started.
        folder: Takes what is kept on this machine.
    """

    def __init__(self, run: Any, folder: RunFolder) -> None:
        self.run, self.folder = run, folder
        self.callback = WandbCallback()
        self.url = run.url

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Put the scores of the best model into the run's summary."""
        self.run.summary.update(flatten_numbers(scores))

    def close(self, error: BaseException | None) -> None:
        """End the run with the exit code of ours."""
        code = 0 if error is None else error.exit_code if isinstance(error, HfFinetuneError) else 1
        self.run.finish(exit_code=code)

    def place(self) -> str:
        """Return the address, or the command that sends the sessions of an offline run."""
        return self.url or f"wandb sync {self.folder.tracking}/wandb/offline-run-*"


def require(recipe: Recipe) -> None:
    """Check that an online run has a key: W&B would ask for one and wait.

    Raises:
        UserError: There is none.
    """
    if _mode() != "online" or os.environ.get("WANDB_API_KEY"):
        return
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        known = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    if known is None:
        raise UserError(
            "training.report_to: WANDB_MODE is online, and there is no API key for W&B",
            where=recipe.where("training.report_to"),
            todo=f"Set WANDB_API_KEY, or run `wandb login`. {OFFLINE}",
        )


def start(session: Session) -> Wandb:
    """Begin the run, or go on with it; a session that is offline has a folder of its own.

    Raises:
        UserError: W&B cannot be reached, or does not take the run.
    """
    folder = session.folder.tracking
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or session.args.project,
            name=session.args.run_name or session.name,
            id=session.memory.setdefault("id", uuid.uuid4().hex),
            dir=str(folder.resolve()),  # its service keeps the working directory of the first run
            resume="allow",
            mode=_mode(),
            config={"recipe": hide_in(session.recipe.model_dump(mode="json"))},
            # what was asked for, and not what else is on this machine
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                init_timeout=TIMEOUT_S,
                silent=True,
                x_disable_meta=True,
                x_save_requirements=False,
            ),
        )
    except wandb.errors.Error as error:
        raise UserError(
            f"training.report_to: W&B did not take the run: {error}",
            where=session.recipe.where("training.report_to"),
            todo=OFFLINE,
        ) from None
    return Wandb(run, session.folder)


def _mode() -> Any:
    return os.environ.get("WANDB_MODE", "offline")
