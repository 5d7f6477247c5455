"""A few live lines at the bottom of a terminal, and lasting ones above them."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hf_finetune.terminal.console import SteadyConsole, printable
from hf_finetune.terminal.status import StatusLine

__all__ = ["Display"]


class Display:
    """Draw live lines while it is open, and keep what others print and log out of them.

    Args:
        draw: Returns the lines as they are now.
        console: Where to; standard error if left out.
        is_live: Whether to draw live lines at all; decided by the console if left out.
    """

    def __init__(
        self,
        draw: Callable[[], list[StatusLine]],
        *,
        console: Console | None = None,
        is_live: bool | None = None,
    ) -> None:
        self.console = console if console is not None else SteadyConsole(stderr=True, highlight=False)
        self.is_live = _can_draw(self.console) if is_live is None else is_live
        self._draw = draw
        self._live: Live | None = None
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []

    def open(self) -> None:
        """Start drawing; nothing happens when it is drawing already, or never does."""
        if not self.is_live or self._live is not None:
            return
        stdout, stderr = sys.stdout, sys.stderr
        self._live = Live(
            console=self.console,
            get_renderable=lambda: Group(*self._draw()),
            # no thread: a worker process forked while it holds a lock would wait for ever
            auto_refresh=False,
            transient=True,
            # output that goes to a file must not end up on the terminal
            redirect_stdout=stdout is not None and stdout.isatty(),
            vertical_overflow="crop",
        )
        atexit.register(self.close)
        self._live.start(refresh=True)
        # a log handler holds on to the stream it was made with, and would write into the live lines
        self._handlers = [(h, h.stream) for h in _stream_handlers() if h.stream in (stdout, stderr)]
        for handler, stream in self._handlers:
            handler.setStream(sys.stdout if stream is stdout else sys.stderr)

    def refresh(self) -> None:
        """Draw the lines as they are now."""
        if self._live is not None:
            self._live.refresh()

    def close(self) -> None:
        """Take the live lines away and give the terminal back; nothing happens the second time."""
        for handler, stream in self._handlers:
            handler.setStream(stream)
        self._handlers = []
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()
        atexit.unregister(self.close)

    def write(self, text: str) -> None:
        """Write a line that stays, above the live ones."""
        # in a file a line stays one line, however long
        self.console.print(Text(printable(text, self.console)), soft_wrap=not self.is_live, highlight=False)


def _can_draw(console: Console) -> bool:
    """FORCE_COLOR makes rich take a file for a terminal: colours do no harm there, moving the cursor does."""
    isatty = getattr(console.file, "isatty", None)
    return console.is_terminal and not console.is_dumb_terminal and isatty is not None and isatty()


def _stream_handlers() -> list[logging.StreamHandler[Any]]:
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    handlers = {id(handler): handler for logger in loggers for handler in logger.handlers}
    return [handler for handler in handlers.values() if isinstance(handler, logging.StreamHandler)]
