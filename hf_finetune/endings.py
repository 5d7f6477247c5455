"""How a run can end early outside the engine: Ctrl-C, SIGTERM and a full disk, while preparing or scoring."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_finetune.atomic_io import is_disk_full
from hf_finetune.engines.checkpoint import list_checkpoints
from hf_finetune.errors import Interrupted, RunFolderError
from hf_finetune.processes import signal_of

__all__ = ["explain_endings"]


@contextmanager
def explain_endings(run_folder: Path) -> Iterator[None]:
    """Say what is left of a run that ends inside.

    Args:
        run_folder: Whose checkpoints are named.

    Raises:
        Interrupted: Instead of KeyboardInterrupt.
        RunFolderError: Instead of whatever a library says when the disk is full.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        saved = list_checkpoints(run_folder)
        raise Interrupted(signal_of(stop), str(saved[-1]) if saved else None) from None
    except Exception as error:
        # safetensors, which is Rust, has an error of its own
        number = re.search(r"\(os error (\d+)\)", str(error))
        if not is_disk_full(OSError(int(number[1]), "") if number else error):
            raise
        file = getattr(error, "filename", None)
        saved = list_checkpoints(run_folder)
        kept = f"the last checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
        raise RunFolderError(
            f"the disk is full: {f'{file} could not be written; ' if file else ''}{kept}",
            where=str(run_folder),
            todo="Free some space and go on with --resume.",
        ) from error
