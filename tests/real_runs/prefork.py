"""Start Python processes that have done their imports: a command then takes a tenth of the time.

A process that imports the slow libraries and nothing that reads settings of the Hub waits for jobs. For each
new set of environment variables it forks one that imports the rest of what a run needs under them, and every
process that a test starts with these variables is a fork of that one. Such a process is as fresh as one that
was started by hand: it has run nothing of ours, has its own session, folder, streams and arguments, and ends
with its own exit code.

Plain `python` without this: HF_FINETUNE_TEST_PREFORK=0.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from functools import cache
from pathlib import Path
from threading import Thread
from typing import IO, Any

LIBRARIES = (
    *("torch", "torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp", "torch.utils.data"),
    *("numpy", "pandas", "pyarrow.parquet", "pyarrow.dataset", "scipy.stats", "sklearn.metrics", "PIL.Image"),
    *(
        "pydantic",
        "rich.progress",
        "typer",
        "jinja2",
        "ruamel.yaml",
        "fsspec",
        "multiprocess",
        "dill",
        "requests",
    ),
)
"""Slow to import, and none of them reads a variable of the Hub."""

OURS = ("hf_finetune.runner", "transformers.trainer_seq2seq", "hf_finetune.engines.trainer")
PER_CALL = ("HF_TOKEN", "HF_FINETUNE_TEST_FAULT", "PYTEST_CURRENT_TEST")
"""Variables that are read when they are needed, not when a library is imported."""

MOST_WAITING = 2
SCRIPT = """
import pathlib, runpy, sys
del sys.argv[0]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A program that is the script which its first argument names."""

STARTED = b"+"


class Child:
    """A process that was forked for a test; what of `subprocess.Popen` the tests use."""

    def __init__(self, status: socket.socket, stdout: IO[str], stderr: IO[str]) -> None:
        self.stdout, self.stderr, self._status = stdout, stderr, status
        self.returncode: int | None = None
        self.pid = int(self._read_line())

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            some = self._status.recv(1)
            if not some:
                raise ChildProcessError("the process that forks has ended")
            line += some
        return line

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None:
            self._status.setblocking(False)
            try:
                self._status.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return None
            finally:
                self._status.setblocking(True)
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code; minus a signal's number, as `Popen` has it."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = os.waitstatus_to_exitcode(int(self._read_line()))
            except TimeoutError:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0) from None
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their ends, and wait."""
        texts = ["", ""]

        def read(i: int, stream: IO[str]) -> None:
            with stream:
                texts[i] = stream.read()

        threads = [
            Thread(target=read, args=pair, daemon=True) for pair in enumerate((self.stdout, self.stderr))
        ]
        for thread in threads:
            thread.start()
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        self.wait(None if deadline is None else max(deadline - time.monotonic(), 0.1))
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Waiting:
    """A process that waits for jobs; `ask` sends one with the ends of its streams."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def ask(self, job: dict[str, Any], *ends: Any) -> None:
        text = json.dumps(job).encode()
        socket.send_fds(self.connection, [len(text).to_bytes(8, "big")], [end.fileno() for end in ends])
        self.connection.sendall(text)

    def close(self) -> None:
        """Let it end."""
        self.connection.close()


@cache
def _first() -> Waiting:
    """Return the process that has the slow libraries; one for each process of pytest."""
    here, there = socket.socketpair()
    # the variables of the Hub come with the jobs
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    process = subprocess.Popen(
        [sys.executable, __file__, str(there.fileno())],
        pass_fds=[there.fileno()],
        env=env,
        stdin=subprocess.DEVNULL,
    )
    there.close()

    def end() -> None:
        for waiting in _by_variables.values():
            waiting.close()
        here.close()
        process.wait(10)

    atexit.register(end)
    return Waiting(here)


_by_variables: OrderedDict[str, Waiting] = OrderedDict()


def _waiting(env: dict[str, str]) -> Waiting:
    """Return the process that has imported everything under some variables."""
    key = json.dumps({name: value for name, value in sorted(env.items()) if name not in PER_CALL})
    if key not in _by_variables:
        here, there = socket.socketpair()
        _first().ask({"kind": "wait", "env": json.loads(key)}, there)
        there.close()
        _by_variables[key] = Waiting(here)
        if len(_by_variables) > MOST_WAITING:
            _by_variables.popitem(last=False)[1].close()
    _by_variables.move_to_end(key)
    return _by_variables[key]


def start(words: list[str], *, cwd: Path, env: dict[str, str], code: str | None = None) -> Any:
    """Start `python -m hf_finetune WORDS`, or a program with these arguments, as the leader of a session.

    Args:
        words: Arguments.
        cwd: Where it works.
        env: All its variables.
        code: A program instead of our command.

    Returns:
        A `Child`, or the `Popen` it stands for.
    """
    if os.environ.get("HF_FINETUNE_TEST_PREFORK") == "0" or not hasattr(os, "fork"):
        program = ["-m", "hf_finetune"] if code is None else ["-c", code]
        pipe = subprocess.PIPE
        streams = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe}
        return subprocess.Popen(
            [sys.executable, *program, *words], cwd=cwd, env=env, text=True, start_new_session=True, **streams
        )
    status, far = socket.socketpair()
    (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
    ends = [far, os.fdopen(out_write, "wb", 0), os.fdopen(err_write, "wb", 0)]
    _waiting(env).ask({"kind": "run", "words": words, "cwd": str(cwd), "env": env, "code": code}, *ends)
    for end in ends:
        end.close()
    return Child(status, os.fdopen(out_read, encoding="utf-8"), os.fdopen(err_read, encoding="utf-8"))


def run(
    words: list[str], *, cwd: Path, env: dict[str, str], code: str | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Do `start`, and wait for the end."""
    child = start(words, cwd=cwd, env=env, code=code)
    try:
        out, err = child.communicate(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(words, child.returncode, out, err)


# -- what follows runs in the processes that wait and in their forks


def _serve(connection: socket.socket) -> dict[str, Any]:
    """Take jobs until there are none; returns in a fork that has one to do, and nowhere else."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that look after a job
    gc.collect()
    gc.freeze()
    while True:
        header, ends, _, _ = socket.recv_fds(connection, 8, 3)
        if not header:
            os._exit(0)
        text, size = b"", int.from_bytes(header, "big")
        while len(text) < size:
            text += connection.recv(size - len(text))
        job = json.loads(text)
        if os.fork() == 0:
            connection.close()
            if job["kind"] == "wait":
                _become_waiting(job["env"])
                connection = socket.socket(fileno=ends[0])
                gc.collect()
                gc.freeze()
                continue
            if _look_after(*ends):
                return dict(job)
        for end in ends:
            os.close(end)


def _become_waiting(env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    _extend_path(env)
    for name in OURS:
        importlib.import_module(name)


def _extend_path(env: dict[str, str]) -> None:
    paths = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]


def _look_after(status: int, out: int, err: int) -> bool:
    """Fork the process of a job and tell how it ended; True in that process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    own = os.fork()
    if own == 0:
        os.close(status)
        os.setsid()
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        for end, number in ((out, 1), (err, 2)):
            os.dup2(end, number)
            os.close(end)
        # Python's own were made for what was there before, which may have been a file
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115 - they last as long as the process
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
            2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        return True
    os.close(out)
    os.close(err)
    os.write(status, f"{own}\n".encode())
    os.write(status, f"{os.waitpid(own, 0)[1]}\n".encode())
    os._exit(0)


def _do(job: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    _extend_path(job["env"])
    sys.path.insert(0, job["cwd"])
    if "HF_FINETUNE_TEST_FAULT" in os.environ:  # as Python would at its start
        runpy.run_path(str(Path(__file__).parent / "inject" / "sitecustomize.py"))
    if job["code"] is not None:
        sys.argv = ["-c", *job["words"]]
        exec(compile(job["code"], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = ["hf_finetune", *job["words"]]
        runpy.run_module("hf_finetune", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    # its own folder has modules for tests alone
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]
    _do(_serve(socket.socket(fileno=int(sys.argv[1]))))
