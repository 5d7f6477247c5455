"""Consoles that never stop a training: neither by a character nor by a closed pipe."""

from __future__ import annotations

import re
from typing import IO, Any

from rich.console import Console

__all__ = ["SteadyConsole", "printable"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SteadyConsole(Console):
    """A rich console that falls silent when nobody reads it any more.

    `hf-finetune run ... 2>&1 | head`, a terminal that was closed or a full disk must not end a training;
    rich would raise, or end the program.
    """

    @property
    def file(self) -> IO[str]:
        """The file written to; writing to it never raises."""
        return _SteadyFile(super().file)  # type: ignore[return-value]  # as a file, by delegation

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file


class _SteadyFile:
    def __init__(self, file: IO[str]) -> None:
        self._steady_file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._steady_file, name)

    def write(self, text: str) -> int:
        try:
            return self._steady_file.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._steady_file.flush()
        except OSError:
            return


def printable(text: str, console: Console) -> str:
    """Return text without control characters and without what the encoding of the console lacks.

    Args:
        text: From anywhere: a path, a metric of the user's, a message of another library.
        console: Where it will be printed.
    """
    plain = _CONTROL.sub("", text.expandtabs(4))
    return plain.encode(console.encoding, "backslashreplace").decode(console.encoding)
