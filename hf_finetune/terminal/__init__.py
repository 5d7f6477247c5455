"""What a user sees while a run goes on and when it ends.

`TerminalProgress` and `JsonLines` are callbacks and need transformers; they are imported when they are
first asked for, so that an error can be printed without that wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_finetune.terminal.messages import print_error, print_summary

if TYPE_CHECKING:
    from hf_finetune.terminal.json_lines import JsonLines
    from hf_finetune.terminal.progress import TerminalProgress

__all__ = ["JsonLines", "TerminalProgress", "print_error", "print_summary"]


def __getattr__(name: str) -> Any:
    if name == "JsonLines":
        from hf_finetune.terminal.json_lines import JsonLines

        return JsonLines
    if name == "TerminalProgress":
        from hf_finetune.terminal.progress import TerminalProgress

        return TerminalProgress
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
