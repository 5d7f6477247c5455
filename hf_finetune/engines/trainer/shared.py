"""What every part of the Trainer engine may use: `Trainer`'s own attributes, and the few that are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from hf_finetune.engines.bookkeeping import Progress
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.engines.watch import Watch

__all__ = ["Shared"]


class Shared(Trainer):  # type: ignore[misc]
    """Names and types; `Engine` gives them their values.

    Attributes:
        parts: What to train.
        resume_from: The checkpoint to go on from.
        progress: Where the run stands.
        resumed: Where the checkpoint stood; None once that has been dealt with.
        losses: Of the micro-batches of the window, this process' own.
        num_micro_batches: Before this window in its epoch.
        num_parameters: For the count of operations.
        started: When training began in this session, seconds since 1970.
        watch: The guard, and who listens for signals.
    """

    parts: Ingredients
    resume_from: Path | None
    progress: Progress
    resumed: Progress | None
    losses: list[torch.Tensor]
    num_micro_batches: int
    num_parameters: int
    started: float
    watch: Watch
    # of Trainer
    optimizer: Any
    lr_scheduler: Any
    control: Any
    current_flos: float
