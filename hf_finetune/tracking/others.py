"""Every other tracker that transformers knows: its own callback, set up by its own environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from hf_finetune.errors import UserError
from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking.base import Tracker

__all__ = ["Other", "require", "start"]


class Other(Tracker):
    """A tracker that looks after itself.

    Args:
        name: As `report_to` calls it.
        callback: Of transformers.
    """

    def __init__(self, name: str, callback: TrainerCallback) -> None:
        self.name, self.callback = name, callback

    def log_results(self, folder: RunFolder, scores: Mapping[str, Any]) -> None:
        """Do nothing: what it takes is known to its callback only."""

    def close(self, error: BaseException | None) -> None:
        """Do nothing: its callback has ended with the training."""

    def place(self) -> str:
        """Name it; where it keeps its runs is in its own settings."""
        return f"see {self.name}"


def require(name: str, *, where: str) -> None:
    """Check that transformers can make the callback.

    Raises:
        UserError: Its package is missing.
    """
    try:
        get_reporting_integration_callbacks([name])[0]()
    except (RuntimeError, ImportError) as error:
        raise UserError(
            f"training.report_to: {name} cannot be used: {error}",
            where=where,
            todo=f"Install its package, or leave {name} out.",
        ) from None


def start(name: str) -> Tracker:
    """Make transformers' callback."""
    return Other(name, get_reporting_integration_callbacks([name])[0]())
