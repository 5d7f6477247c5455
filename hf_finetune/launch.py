"""Run a command in several processes of this machine.

Accelerate's own launcher, for machines, sharding and the rest, works as well: `accelerate launch ... -m
hf_finetune run RECIPE`. This one is for the plain case, where it keeps what that one loses: the exit code of
the command, the time a checkpoint takes after Ctrl-C or SIGTERM (torch's elastic agent kills after 30 s), a
second Ctrl-C that ends at once (the agent makes it a SIGTERM), and the right number of processes on a CPU.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hf_finetune.errors import UserError
from hf_finetune.processes import ASKED, list_signals

__all__ = ["launch"]

GRACE_S = 30.0
"""How long the others may go on when one process has failed: they may be ending for the same reason."""
KILL_AFTER_S = 5.0
LAST_CHARACTERS = 4000

Child = subprocess.Popen[bytes]


def launch(words: Sequence[str], *, num_processes: int) -> int:
    """Run `python -m hf_finetune WORDS` in several processes and return the exit code of the first to fail.

    Args:
        words: The command line without `--processes`.
        num_processes: At least 2; without an accelerator they train on the CPU, with gloo between them.

    Returns:
        0 when all ended well; 128 + n for a process that signal n ended.

    Raises:
        UserError: The number is below 2, or a launcher has started this process already.
    """
    if num_processes < 2:
        raise UserError(f"--processes {num_processes}: expected 2 or more", todo="Leave it out for one.")
    if "RANK" in os.environ:
        raise UserError(
            f"--processes {num_processes}: a launcher has started this process already",
            todo="Leave --processes out, and give the launcher the number.",
        )
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not in its __all__

    # where the processes meet: held open here from the start, no other run can take the port in between
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory(prefix="hf-finetune-") as folder:
        outputs = [Path(folder) / f"{rank}.txt" for rank in range(num_processes)]
        children: list[Child] = []
        with _forward_signals(children) as forwarded:
            for rank in range(num_processes):
                if forwarded:
                    break
                children.append(_start(words, rank, num_processes, store.port, outputs[rank]))
            failed = _wait(children)
        if failed is None:
            return 0
        code = children[failed].returncode
        has_told = children[0].returncode == code == UserError.exit_code  # a mistake that all have found
        if not forwarded and not has_told and (failed != 0 or code < 0):
            _explain(failed, num_processes, code, outputs[failed])
        return code if code >= 0 else 128 - code


def _start(words: Sequence[str], rank: int, num_processes: int, port: int, output: Path) -> Child:
    """Start one process. The first has our terminal; what the others print is kept in case they fail."""
    import torch

    num_threads = max((os.cpu_count() or 1) // num_processes, 1)
    env = {
        "OMP_NUM_THREADS": str(num_threads),  # each takes all cores otherwise, and all get slow
        **os.environ,
        ASKED: str(num_processes),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        # torch 2.13, torch.distributed.rendezvous: the store is the launcher's, not the first process'
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    if not torch.accelerator.is_available():
        env["ACCELERATE_USE_CPU"] = "1"
    with output.open("wb") as file:
        own: dict[str, Any] = {} if rank == 0 else {"stdout": file, "stderr": file}
        return subprocess.Popen(
            [sys.executable, "-m", "hf_finetune", *words],
            env=env,
            stdin=subprocess.PIPE,  # it closes with us: see processes.follow_launcher
            start_new_session=True,  # the terminal's Ctrl-C reaches them once, through us
            **own,
        )


@contextmanager
def _forward_signals(children: Sequence[Child]) -> Iterator[list[int]]:
    """Give the signals that ask to stop to the children instead of ending; yield those that came."""
    forwarded: list[int] = []

    def forward(signum: int, frame: FrameType | None) -> None:
        forwarded.append(signum)
        for child in children:
            child.send_signal(signum)

    before = {signum: signal.signal(signum, forward) for signum in list_signals()}
    try:
        yield forwarded
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait(children: Sequence[Child]) -> int | None:
    """Wait for all; return which was the first to fail. One that hangs without the others is ended."""
    failed: int | None = None
    deadline = float("inf")
    is_asked = False
    while None in [child.poll() for child in children]:
        if failed is None:
            failed = _first_failed(children)
            if failed is not None:
                deadline = time.monotonic() + GRACE_S
        if time.monotonic() > deadline:
            for child in children:
                child.kill() if is_asked else child.terminate()
            deadline, is_asked = time.monotonic() + KILL_AFTER_S, True
        time.sleep(0.05)
    return _first_failed(children) if failed is None else failed


def _first_failed(children: Sequence[Child]) -> int | None:
    return next((rank for rank, child in enumerate(children) if child.returncode), None)


def _explain(rank: int, num_processes: int, code: int, output: Path) -> None:
    """Show what a process that the user does not see has printed, and how it ended."""
    text = output.read_text(encoding="utf-8", errors="backslashreplace")[-LAST_CHARACTERS:]
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    print(f"{text}process {rank} of {num_processes} (from 0) was the first to fail: {how}", file=sys.stderr)
