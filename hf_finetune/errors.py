"""What can go wrong, and the exit code each thing ends with.

HfFinetuneError                1   a defect of ours
├── UserError                  2   the user can fix it: what, where, what to do
│   ├── RecipeError                the recipe: every problem at once, file:line:column each
│   ├── DataError                  data set, columns, splits, rows
│   ├── ModelError                 checkpoint, processor, adapters
│   ├── HubError                   network, rights, unknown ids
│   ├── RunFolderError             output_dir: another run in it, disk full
│   ├── CheckpointError            damaged, or of another run
│   └── NonFiniteError             loss or gradient norm became NaN or infinite
└── Interrupted            128+n   signal n (130 Ctrl-C, 143 SIGTERM), after a checkpoint was written
"""

from __future__ import annotations

import signal
from collections.abc import Iterable

from hf_finetune.secrecy import hide_secrets

__all__ = [
    "CheckpointError",
    "DataError",
    "HfFinetuneError",
    "HubError",
    "Interrupted",
    "ModelError",
    "NonFiniteError",
    "RecipeError",
    "RunFolderError",
    "UserError",
]


class HfFinetuneError(Exception):
    """Base of every error raised on purpose. `exit_code` is what the command ends with."""

    exit_code: int = 1


class UserError(HfFinetuneError):
    """A mistake the user can fix: one message, no traceback, no secrets.

    Args:
        what: What is wrong, with what was got and what was expected.
        where: `file:line:column` of the recipe, a path, or a row; left out where there is none.
        todo: What to do about it, as an imperative sentence.

    Example:
        >>> print(UserError("the column 'lable' is not there", where="r.yaml:3:5", todo="Use 'label'."))
        r.yaml:3:5: the column 'lable' is not there. Use 'label'.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, todo: str | None = None) -> None:
        what, where, todo = hide_secrets(what), where and hide_secrets(where), todo and hide_secrets(todo)
        self.what, self.where, self.todo = what, where, todo
        text = f"{where}: {what}" if where else what
        gap = "" if text.endswith("\n") else " " if text.endswith((".", "?")) else ". "
        super().__init__(f"{text}{gap}{todo}" if todo else text)


class RecipeError(UserError):
    """One or more problems of a recipe; `str()` gives a line for each.

    Example:
        >>> lame, odd = UserError("unknown key", where="r.yaml:3:5"), UserError("empty", where="r.yaml:9:1")
        >>> print(RecipeError.join([lame, odd]))
        r.yaml:3:5: unknown key
        r.yaml:9:1: empty
    """

    problems: tuple[UserError, ...] = ()

    @classmethod
    def join(cls, problems: Iterable[UserError]) -> RecipeError:
        """Make one error of several, so that the user sees all of them at once."""
        found = tuple(problems)
        error = cls("\n".join(map(str, found)))
        error.problems = found
        return error


class DataError(UserError):
    """The data set, a split, a column or a row is not as it must be."""


class ModelError(UserError):
    """The checkpoint, its processor or its adapters do not fit."""


class HubError(UserError):
    """The Hub cannot be reached, does not know the id, or does not let us in."""


class RunFolderError(UserError):
    """The run folder is taken, not writable or full."""


class CheckpointError(UserError):
    """A checkpoint is damaged, missing or of another run."""


class NonFiniteError(UserError):
    """The loss or the gradient norm became NaN or infinite."""


class Interrupted(HfFinetuneError):
    """The run was asked to stop and did so cleanly.

    Args:
        signum: One of `processes.STOPPING`; the exit code is 128 + signum.
        checkpoint: The checkpoint written before stopping, or None when there was nothing to save.
    """

    def __init__(self, signum: int, checkpoint: str | None = None) -> None:
        self.signum, self.checkpoint = signum, checkpoint
        self.exit_code = 128 + signum
        saved = f"the state is in {checkpoint}" if checkpoint else "no checkpoint was written"
        super().__init__(f"stopped by {signal.Signals(signum).name}; {saved}")
