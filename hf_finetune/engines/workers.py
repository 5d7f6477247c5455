"""Data worker processes: when to fork them, and which signals concern them."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

import torch

from hf_finetune.processes import STOPPING

__all__ = ["TRAINING", "leave_signals_to_the_parent", "wait_before_fork"]

TRAINING = torch.zeros(1, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
"""1 while an engine trains in this process; its data workers see it."""

CALM_S = 0.02


def leave_signals_to_the_parent(training: torch.Tensor, worker: int) -> None:
    """Let a worker outlive the signals that a terminal or a scheduler sends to every process of a run.

    The update that is finished before a run stops needs its rows. A worker ends when it is told that there is
    no more to do, when its parent is gone, or by SIGTERM once the training is over: that is how python ends
    what is left of its children, and it waits for them.

    Args:
        training: `TRAINING` of the parent.
        worker: Its number; torch passes it.
    """

    def end_unless_training(signum: int, frame: FrameType | None) -> None:
        if not training.item():
            os._exit(0)

    for signum in STOPPING:
        signal.signal(signum, end_unless_training if signum == signal.SIGTERM else signal.SIG_IGN)


def wait_before_fork() -> None:
    """Give gloo's threads time to let go of python before this process forks.

    After a collective such a thread may drop the last reference to a tensor, for which it enters the
    interpreter for a moment. A child forked in that moment waits for ever for a lock that nobody holds any
    more (CPython 3.11: `PyOS_AfterFork_Child` takes the lock on the list of threads before it makes it anew).
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        time.sleep(CALM_S)
