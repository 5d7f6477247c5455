"""Which process this is, and whether all that were asked for came up; known before torch is imported."""

from __future__ import annotations

import os

from hf_finetune.errors import HfFinetuneError

__all__ = ["ASKED", "is_first_process", "require_world_size"]

ASKED = "HF_FINETUNE_NUM_PROCESSES"


def is_first_process() -> bool:
    """Whether this is the process that writes, prints and tracks."""
    return os.environ.get("RANK", "0") == "0"


def require_world_size(num_processes: int) -> None:
    """Check that as many processes came up as were asked for: a launcher that starts fewer says nothing.

    Raises:
        HfFinetuneError: The number differs.
    """
    asked = int(os.environ.get(ASKED, num_processes))
    if asked != num_processes:
        raise HfFinetuneError(f"{asked} processes were asked for, but {num_processes} came up")
