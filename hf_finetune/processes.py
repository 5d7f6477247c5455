"""Which process this is, whether all came up, and how it is asked to stop; known before torch is imported."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hf_finetune.errors import UserError

__all__ = [
    "ASKED",
    "REPEAT_S",
    "STOPPING",
    "disconnect",
    "follow_launcher",
    "is_first_process",
    "is_heard",
    "list_signals",
    "require_world_size",
    "signal_of",
    "stop_on_signals",
]

ASKED = "HF_FINETUNE_NUM_PROCESSES"
"""Set by `launch` for the processes it starts."""

REPEAT_S = 1.0
"""The same signal again within so many seconds is one signal: launchers, `uv run` and others pass on what the
terminal has sent to all of its processes already."""

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))
"""What asks a run to stop: `kill`, Ctrl-C, a closed terminal, what batch systems send before time is up
(SLURM sends what it was asked for, SGE and LSF SIGUSR1 and SIGUSR2), and the limit on processor time."""

STDIN = 0


def is_first_process() -> bool:
    """Whether this is the process that writes, prints and tracks."""
    return os.environ.get("RANK", "0") == "0"


def is_heard() -> bool:
    """Whether an error should be printed: `launch` shows that of the process that failed first, only."""
    return is_first_process() or ASKED in os.environ


def require_world_size(num_processes: int) -> None:
    """Check that as many processes came up as were asked for: a launcher that connects fewer says nothing.

    Args:
        num_processes: Those that are connected.

    Raises:
        UserError: The number differs.
    """
    env = os.environ
    asked = env.get(ASKED) or env.get("WORLD_SIZE")
    if asked is None and "ACCELERATE_MIXED_PRECISION" in env and "MASTER_ADDR" in env:
        # accelerate 1.15 sets an address for several processes, then starts one for --cpu --num_processes N
        asked = "several"
    if asked is not None and asked != str(num_processes):
        raise UserError(
            f"{asked} processes were asked for, but {num_processes} came up",
            todo="Use `hf-finetune run RECIPE --processes N`; or, without a GPU, ACCELERATE_USE_CPU=1 with "
            "`accelerate launch --multi_gpu --num_processes N -m hf_finetune run RECIPE`.",
        )


def disconnect(exit_code: int) -> None:
    """End the connection between the processes, if there is one, before Python is taken down.

    Gloo's threads would otherwise end with the interpreter, and now and then abort a process that had done
    its work. After an error NCCL is left alone: it might wait for processes that will not come.

    Args:
        exit_code: What this process is about to exit with.

    Source: pytorch issue 190489, "terminate called without an active exception".
    """
    if "torch" not in sys.modules:
        return
    from torch import distributed

    is_connected = distributed.is_available() and distributed.is_initialized()
    if is_connected and (exit_code == 0 or distributed.get_backend() == "gloo"):
        distributed.destroy_process_group()
        gc.collect()  # a model that exchanged gradients holds gloo, and lies in a cycle of references


def follow_launcher() -> None:
    """Stop as after SIGTERM when `launch` is gone, however it ended: it holds the other end of our stdin."""
    if ASKED not in os.environ:
        return

    def wait() -> None:
        while os.read(STDIN, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="follow-launcher", daemon=True).start()


def list_signals() -> list[int]:
    """Return the signals that a run listens to: `nohup` and its like have some ignored, and they stay so."""
    ignorable = {int(signum) for signum in STOPPING} - {int(signal.SIGINT), int(signal.SIGTERM)}
    return [
        signum for signum in STOPPING if signum not in ignorable or signal.getsignal(signum) != signal.SIG_IGN
    ]


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Let SIGTERM and its like raise KeyboardInterrupt inside, as Ctrl-C does; yield the signals that came.

    The engines listen for themselves while they train. Processes forked inside die of a signal without a
    word, as they would in a program that does not listen.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may set handlers
        return
    owner, last = os.getpid(), 0.0

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        nonlocal last
        is_repeated, last = time.monotonic() - last < REPEAT_S, time.monotonic()
        if received and is_repeated:
            return
        received.append(signum)
        raise KeyboardInterrupt(signum)

    before = {signum: signal.signal(signum, stop) for signum in list_signals()}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def signal_of(stop: KeyboardInterrupt) -> int:
    """Return the signal that raised it."""
    return int(stop.args[0]) if stop.args else int(signal.SIGINT)
