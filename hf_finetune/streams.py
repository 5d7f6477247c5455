"""Standard output and error of the command: without secrets, in any encoding, and quiet when nobody reads."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, TextIO, cast

from hf_finetune.errors import UserError
from hf_finetune.secrecy import hide_secrets

__all__ = ["Streams", "unhidden"]

UNREAD = 128 + signal.SIGPIPE
"""What a shell reports of a program whose reader is gone, as with `| head -1`."""


class _HidingStream(io.TextIOWrapper):
    """Text to a file descriptor; the first error of writing is kept in `problem`."""

    problem: OSError | None = None

    def write(self, text: str) -> int:
        self.write_as_it_is(hide_secrets(text))
        return len(text)

    def write_as_it_is(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.problem = self.problem or error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.problem = self.problem or error
            raise


class _Unhidden:
    """Writes to a stream what is data: a transcript may be about a cookie."""

    def __init__(self, stream: _HidingStream) -> None:
        self.encoding, self.write, self.flush = stream.encoding, stream.write_as_it_is, stream.flush


def unhidden(stream: TextIO) -> TextIO:
    """Return a stream for data out of which whoever writes them has taken the secrets."""
    return cast(TextIO, _Unhidden(stream)) if isinstance(stream, _HidingStream) else stream


class Streams:
    """Stand in for `sys.stdout` and `sys.stderr` until the process ends.

    Streams that are captured by someone else already, as in tests, are left alone.
    """

    def __init__(self) -> None:
        self._own: dict[str, _HidingStream] = {}
        for name in ("stdout", "stderr"):
            stream: Any = getattr(sys, name)
            if isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
                stream.flush()
                own = _HidingStream(
                    stream.buffer,
                    encoding=stream.encoding,
                    errors="backslashreplace",  # a name that the terminal lacks letters for is no error
                    line_buffering=stream.line_buffering or name == "stderr",
                    write_through=stream.write_through,
                )
                self._own[name] = own
                setattr(sys, name, own)

    def explain(self, error: BaseException) -> UserError | None:
        """Return what to tell the user when an error is one of writing to standard output; else None."""
        stdout = self._own.get("stdout")
        if stdout is None or stdout.problem is None or not isinstance(error, OSError):
            return None
        if error.errno != stdout.problem.errno:
            return None
        return UserError(
            f"standard output cannot be written: {stdout.problem.strerror}",
            todo="Free some space, or let it go elsewhere.",
        )

    def end(self, exit_code: int) -> tuple[int, UserError | None]:
        """Write what is left.

        Args:
            exit_code: What the command would end with.

        Returns:
            What it ends with, and what else to tell the user. Where somebody has lived with an output that
            nobody reads, as `run` does, that costs nothing.
        """
        stdout, problem = self._own.get("stdout"), None
        if stdout is None:
            return exit_code, None
        was_sound = stdout.problem is None
        try:
            stdout.flush()
        except OSError as error:
            problem = self.explain(error) if was_sound and exit_code == 0 else None
            exit_code = UserError.exit_code if problem else exit_code
        if stdout.problem is not None:
            # Python would try to write once more, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        if isinstance(stdout.problem, BrokenPipeError) and (exit_code == 1 or problem):
            return UNREAD, None
        return exit_code, problem
