"""What may end a run early: a NaN or infinite loss, Ctrl-C, SIGTERM and its like. All decide the same."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate.utils import gather_object, reduce
from transformers import TrainingArguments

from hf_finetune.engines.checkpoint import list_checkpoints
from hf_finetune.engines.ingredients import Guard
from hf_finetune.engines.workers import TRAINING
from hf_finetune.errors import Interrupted, NonFiniteError
from hf_finetune.processes import REPEAT_S, STOPPING, list_signals

__all__ = ["Abandoned", "Watch"]

logger = logging.getLogger(__name__)
Rows = Sequence[int]


class Abandoned(Exception):
    """An evaluation was left because a signal asked to stop; `Watch.signum` is set."""


class Watch:
    """Looks at every update before the optimizer takes it, and listens for signals while training.

    Args:
        guard: How many non-finite updates may be skipped.
        args: For the number of processes and the run folder.
        rows_of: number of a micro-batch in the epoch -> its row indices on this process.

    Attributes:
        signum: The signal that all processes have agreed to stop for, or None.
        num_skipped: Updates skipped so far in the whole run.
    """

    def __init__(self, guard: Guard, args: TrainingArguments, rows_of: Callable[[int], Rows]) -> None:
        self.guard, self.args, self.rows_of = guard, args, rows_of
        self.signum: int | None = None
        self.num_skipped = 0
        self._received, self._received_at, self._pid = 0, 0.0, os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        TRAINING.fill_(1)
        if threading.current_thread() is threading.main_thread():
            for signum in list_signals():
                self._before[signum] = signal.signal(signum, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        TRAINING.fill_(0)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a data worker: the process it works for decides
        if self._received:
            if self._received == signum == signal.SIGINT and time.monotonic() - self._received_at > REPEAT_S:
                raise KeyboardInterrupt  # the second Ctrl-C does not wait
            return
        self._received, self._received_at = signum, time.monotonic()
        logger.warning("%s: finishing this update, then saving", signal.Signals(signum).name)

    def should_skip(
        self,
        update: int,
        losses: Sequence[torch.Tensor],
        grad_norm: float,
        learning_rate: float,
        first_micro_batch: int,
        *,
        check_norm: bool = True,
    ) -> bool:
        """Judge an update whose gradients are ready, before the optimizer takes them.

        Args:
            update: Its number, from 1.
            losses: This process' loss of each micro-batch of the window.
            grad_norm: Of the whole gradient, before clipping.
            learning_rate: That the update would be made with.
            first_micro_batch: The number, in its epoch, of the window's first micro-batch.
            check_norm: False with fp16, whose loss scaler looks for infinite gradients itself.

        Returns:
            Whether to drop the gradients of this update.

        Raises:
            NonFiniteError: A loss or the norm is NaN or infinite, and no skip is left.
        """
        numbers = torch.stack([loss.float() for loss in losses]).tolist()  # one wait for the device, for all
        is_bad = not all(map(math.isfinite, [*numbers, grad_norm] if check_norm else numbers))
        if not self._agree(is_bad):
            return False
        what = self._describe(update, losses, grad_norm, learning_rate, first_micro_batch)
        if self.num_skipped >= self.guard.max_skips:
            saved = list_checkpoints(Path(self.args.output_dir))
            raise NonFiniteError(
                f"{what}; the weights are those of update {update - 1}; last checkpoint: "
                f"{saved[-1] if saved else 'none'}",
                todo="Look at these rows, lower learning_rate, or let guard.max_skips skip a few updates.",
            )
        self.num_skipped += 1
        logger.warning("skipped %d of at most %d: %s", self.num_skipped, self.guard.max_skips, what)
        return True

    def leave_if_asked(self) -> None:
        """Leave an evaluation in which a signal came; every process calls it after each batch.

        Raises:
            Abandoned: A signal came on any process.
        """
        self._agree(False)
        if self.signum is not None:
            raise Abandoned

    def stop_if_asked(self) -> None:
        """End a run that was asked to stop after its last update.

        Raises:
            Interrupted: A signal came on any process.
        """
        self._agree(False)
        if self.signum is not None:
            saved = list_checkpoints(Path(self.args.output_dir))
            raise Interrupted(self.signum, str(saved[-1]) if saved else None)

    def _agree(self, is_bad: bool) -> bool:
        """Return whether any process has a bad loss, and learn of any process' signal, in one exchange."""
        news = [is_bad, *(self._received == signum for signum in STOPPING)]
        if self.args.world_size > 1:
            told = torch.tensor(news, dtype=torch.float32, device=self.args.device)
            news = [count > 0 for count in reduce(told, reduction="sum").tolist()]
        self.signum = next((signum for signum, came in zip(STOPPING, news[1:], strict=True) if came), None)
        return news[0]

    def _describe(
        self,
        update: int,
        losses: Sequence[torch.Tensor],
        grad_norm: float,
        learning_rate: float,
        first_micro_batch: int,
    ) -> str:
        bad = [i for i, loss in enumerate(losses) if not bool(torch.isfinite(loss))]
        numbers = [first_micro_batch + i for i in (bad or range(len(losses)))]
        mine = {
            "is_bad": bool(bad),
            "losses": [float(loss) for loss in losses],
            "rows": [row for number in numbers for row in self.rows_of(number)],
        }
        everyone: list[dict[str, Any]] = gather_object([mine]) if self.args.world_size > 1 else [mine]
        suspects = [told for told in everyone if told["is_bad"]] or everyone
        rows = [row for told in suspects for row in told["rows"]]
        losses_text = ", ".join(f"{loss:.6g}" for told in everyone for loss in told["losses"])
        shown = ", ".join(map(str, rows[:32])) + (f" and {len(rows) - 32} more" if len(rows) > 32 else "")
        where = f"training rows {shown}" if rows else f"micro-batches {numbers} of the stream"
        return (
            f"update {update} is not finite: loss {losses_text}, gradient norm {grad_norm:.6g}, "
            f"learning rate {learning_rate:.6g}, {where}"
        )
