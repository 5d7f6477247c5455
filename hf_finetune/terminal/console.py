"""Consoles that never stop a training: neither by a character nor by a closed pipe."""

from __future__ import annotations

import re

from rich.console import Console

__all__ = ["SteadyConsole", "printable"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class SteadyConsole(Console):
    """A rich console that falls silent when nobody reads it any more.

    rich ends the program on a broken pipe; `hf-finetune run ... 2>&1 | head` must not end a training.
    """

    def on_broken_pipe(self) -> None:
        """Fall silent."""
        self.quiet = True


def printable(text: str, console: Console) -> str:
    """Return text without control characters and without what the encoding of the console lacks.

    Args:
        text: From anywhere: a path, a metric of the user's, a message of another library.
        console: Where it will be printed.
    """
    plain = _CONTROL.sub("", text.expandtabs(4))
    return plain.encode(console.encoding, "backslashreplace").decode(console.encoding)
