"""One line of progress that fits whatever width there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from hf_finetune.terminal.console import printable

__all__ = ["Field", "StatusLine", "format_clock"]

MIN_BAR = 8
MAX_BAR = 40
GAP = "  "


@dataclass(frozen=True)
class Field:
    """A piece of the line.

    Args:
        text: What it says; an empty one is left out.
        rank: Where space is short, the highest rank goes first; 0 stays.
    """

    text: str
    rank: int


@dataclass(frozen=True, kw_only=True)
class StatusLine:
    """A label, a bar and fields on one line; a rich renderable.

    Args:
        label: At the left.
        done: Out of `total`.
        total: None when it is not known.
        fields: Left to right, after the bar.
    """

    label: str
    done: int
    total: int | None
    fields: Sequence[Field] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        fields = tuple(replace(field, text=printable(field.text, console)) for field in self.fields)
        clean = replace(self, label=printable(self.label, console), fields=fields)
        yield clean.render(options.max_width, is_ascii=options.ascii_only)

    def render(self, width: int, *, is_ascii: bool = False) -> Text:
        """Return the line, at most `width` columns wide.

        Args:
            width: Columns of the terminal.
            is_ascii: Draw the bar with ASCII characters.
        """
        count = f"{self.done}/{self.total}" if self.total is not None else f"{self.done}"
        label = Field(self.label, 4)
        kept = [field for field in (label, Field(count, 0), *self.fields) if field.text]
        while len(kept) > 1 and _width(kept) + MIN_BAR + len(GAP) > width:
            kept.remove(max(kept, key=lambda field: field.rank))
        bar_width = min(MAX_BAR, width - _width(kept) - len(GAP))
        line = Text(no_wrap=True, overflow="crop")
        if label in kept:
            line.append(label.text + GAP, style="bold")
            kept.remove(label)
        if self.total and bar_width >= MIN_BAR:
            num_full = min(bar_width, bar_width * self.done // self.total)
            full, rest = ("#", "-") if is_ascii else ("━", "─")
            line.append(full * num_full, style="cyan")
            line.append(rest * (bar_width - num_full) + GAP, style="dim")
        line.append(GAP.join(field.text for field in kept))
        line.truncate(width)
        return line


def _width(fields: Sequence[Field]) -> int:
    return sum(cell_len(field.text) for field in fields) + len(GAP) * (len(fields) - 1)


def format_clock(seconds: float) -> str:
    """Format a time as a clock does: it changes its last digit only, so that the line stands still.

    Example:
        >>> [format_clock(s) for s in (7, 75, 3675, 90_000)]
        ['0:07', '1:15', '1:01:15', '25:00:00']
    """
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
