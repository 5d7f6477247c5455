"""What could not be written after the scores of a run were known: it costs neither them nor the rest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hf_finetune.errors import HfFinetuneError, Interrupted, RunFolderError, UserError

__all__ = ["raise_failures", "surviving"]

TABLES = "predictions/"
NO_SPACE = "No space left on device"


@contextmanager
def surviving(what: str, failures: dict[str, Exception]) -> Iterator[None]:
    """Note down what goes wrong inside, and go on; a run that is asked to stop does.

    Args:
        what: The file that is then missing.
        failures: Takes it: what -> why.
    """
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        failures[what] = error


def raise_failures(run_folder: Path, failures: Mapping[str, Exception], *, resume: str) -> None:
    """Say all at once what is missing of a run that is trained and scored, and how it is made again.

    Args:
        run_folder: With `best/` and `scores.json`.
        failures: What is missing -> why.
        resume: The command that goes on with the run.

    Raises:
        RunFolderError: The user can mend it: the disk is full, a file may not be written.
        HfFinetuneError: It is a defect.
    """
    if not failures:
        return
    first = next(iter(failures.values()))
    is_defect = not all(isinstance(error, OSError | UserError) for error in failures.values())
    reasons = "; ".join(f"{what}: {_say(error)}" for what, error in failures.items())
    what = f"the run is trained and scored, and best/ and scores.json are whole; missing is {reasons}"
    needs_model = any(name.startswith(TABLES) for name in failures)
    again = resume if needs_model else shlex.join(["hf-finetune", "report", str(run_folder)])
    if is_defect:
        raise HfFinetuneError(
            f"{run_folder}: {what}. Once that is mended, make the rest by: {again}"
        ) from first
    raise RunFolderError(
        what, where=str(run_folder), todo=f"Mend it, and make the rest by: {again}"
    ) from first


def _say(error: Exception) -> str:
    told = " ".join(str(error).split()) or type(error).__name__
    if NO_SPACE in told:
        return f"the disk is full ({told})"
    return told if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {told}"
