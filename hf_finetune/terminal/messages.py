"""What stands on the terminal when a run has ended: the summary, or the one thing that went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_finetune.errors import HfFinetuneError, Interrupted
from hf_finetune.formatting import (
    MISSING,
    as_float,
    format_duration,
    format_name,
    format_number,
    format_rate,
    format_score,
    is_score,
    wilson_interval,
)
from hf_finetune.run_folder import RunFolder
from hf_finetune.secrecy import hide_secrets
from hf_finetune.transcript_words import describe_transcripts, tell_notes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_error", "print_summary"]

BASELINE = "from random weights"


def print_summary(run_folder: Path, *, console: Console | None = None) -> None:
    """Print how good the best model is, how long it took, and where everything is.

    Args:
        run_folder: Of a run that has ended; what is not in it is left out.
        console: Where to; standard output if left out.
    """
    from rich.padding import Padding
    from rich.text import Text

    from hf_finetune.terminal.console import SteadyConsole, printable

    out = console if console is not None else SteadyConsole(highlight=False)
    try:
        scores = json.loads((run_folder / "scores.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        scores = {}
    out.print()
    headline = _headline(scores)
    if headline:
        out.print(Text(printable(headline, out), style="bold"), soft_wrap=True)
    table = _score_table(scores, out)
    if table is not None:
        out.print(Padding(table, (0, 0, 0, 2), expand=False))
        for doubt in _doubts(run_folder):
            out.print(Text(printable(f"  Note: {doubt}", out), style="bold"), soft_wrap=True)
        out.print()
    for sentence in tell_notes(*_last_transcripts(scores)):
        out.print(Text(printable(f"  {sentence}", out), style="bold red"), soft_wrap=True)
    facts = [*_certainty(scores), *_transcript_facts(scores), *_facts(scores), *_places(run_folder)]
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        out.print(Text(printable(f"  {name:<{width}}  {value}", out)), soft_wrap=True)
    out.print(Text(printable(f"\nNext: {_next_step(run_folder)}", out)), soft_wrap=True)


def print_error(error: HfFinetuneError, *, console: Console | None = None) -> None:
    """Print what went wrong, where, and what to do: no traceback, no broken lines.

    Args:
        error: One the user can do something about, or the end of a run that was asked to stop.
        console: Where to; standard error if left out.
    """
    from rich.text import Text

    from hf_finetune.terminal.console import SteadyConsole, printable

    out = console if console is not None else SteadyConsole(stderr=True, highlight=False)
    is_stop = isinstance(error, Interrupted)
    lines = [printable(line, out) for line in hide_secrets(str(error)).splitlines()] or [type(error).__name__]
    # a line of its own for each of several problems, so that an editor finds file:line:column at its start
    gap = "\n" if len(lines) > 1 else " "
    head = () if is_stop else (("error:", "bold red"), gap)
    out.print(Text.assemble(*head, "\n".join(lines)), soft_wrap=True)


def _part(scores: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        scores = scores.get(key) if isinstance(scores, Mapping) else None
    return scores if isinstance(scores, Mapping) else {}


def _doubts(folder: Path) -> list[str]:
    """Say why the scores may be too good: rows that are in two splits."""
    try:
        told = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        shared = [one["what"] for one in told.get("duplicates", ()) if one["splits"]]
        return [*map(str, told.get("overlaps", ())), *map(str, shared)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _headline(scores: Any) -> str:
    best = _part(scores, "best")
    if as_float(best.get("value")) is None:
        return ""
    metric = format_name(str(best.get("metric") or "score"))
    step = f", update {format_number(best['step'])}" if best.get("step") is not None else ""
    value = format_score(str(best.get("metric")), best["value"])
    return f"Best {metric} {value} ({best.get('split', 'eval')} split{step})"


def _score_table(scores: Any, console: Console) -> Table | None:
    """Metrics down, splits across; the baseline's scores of the last split beside it."""
    from rich.table import Table
    from rich.text import Text

    from hf_finetune.terminal.console import printable

    columns = {split: _part(scores, split) for split in ("eval", "test") if _part(scores, split)}
    if not columns:
        return None
    split = list(columns)[-1]
    if _part(scores, "baseline", split):
        columns[f"{split} {BASELINE}"] = _part(scores, "baseline", split)
    metric = str(_part(scores, "best").get("metric", "")).removeprefix("eval_")
    names = {name for column in columns.values() for name, value in column.items() if is_score(name, value)}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    for name in sorted(names, key=lambda name: (name != metric, name == "loss", name)):
        values = [
            format_score(name, column.get(name)) if name in column else MISSING for column in columns.values()
        ]
        table.add_row(*(Text(printable(text, console)) for text in (format_name(name), *values)))
    return table


def _certainty(scores: Any) -> list[tuple[str, str]]:
    """Say of how many rows the accuracy is, and how far it can be trusted."""
    facts = []
    for split in ("eval", "test"):
        num_rows, share = as_float(_part(scores, "rows").get(split)), _part(scores, split).get("accuracy")
        accuracy = as_float(share)
        if num_rows and accuracy is not None and 0 <= accuracy <= 1:
            low, high = wilson_interval(accuracy, int(num_rows))
            told = f"{num_rows:,.0f} rows; 95 % interval of the accuracy {low:.3f} to {high:.3f}"
            facts.append((f"{split} split", told))
    return facts


def _last_transcripts(scores: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the split that is told of, and what is known of its transcripts."""
    known = [split for split in ("test", "eval") if _part(scores, "transcripts", split)]
    return (known[0], _part(scores, "transcripts", known[0])) if known else ("", {})


def _transcript_facts(scores: Any) -> list[tuple[str, str]]:
    split, notes = _last_transcripts(scores)
    return describe_transcripts(split, notes, _part(scores, split) if split else {})


def _facts(scores: Any) -> list[tuple[str, str]]:
    train = _part(scores, "train")
    runtime, speed = as_float(train.get("runtime_s")), as_float(train.get("samples_per_second"))
    num_all, num_trained = as_float(train.get("num_parameters")), as_float(train.get("num_trained"))
    if runtime is None:
        return []
    updates = f" for {format_number(train['updates'])} updates" if train.get("updates") is not None else ""
    rate = f", {format_rate(speed)} samples/s" if speed is not None else ""
    facts = [("training", f"{format_duration(runtime)}{updates}{rate}")]
    if num_all and num_trained is not None and num_trained < num_all:
        share = f"{100 * num_trained / num_all:.3g} %"
        facts.append(("trained", f"{num_trained:,.0f} of {num_all:,.0f} parameters ({share})"))
    return facts


def _places(folder: Path) -> list[tuple[str, str]]:
    steps = [path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*") if path.is_dir()]
    last = max((step for step in steps if step.isdecimal()), key=int, default=None)
    places = [
        ("best model", folder / "best"),
        ("scores", folder / "scores.json"),
        ("report", folder / "report.html"),
        ("last checkpoint", folder / f"checkpoint-{last}"),
    ]
    trackers = RunFolder(folder).load_trackers()
    return [
        *((name, str(path)) for name, path in places if path.exists()),
        *((name, str(memory.get("place"))) for name, memory in trackers.items()),
    ]


def _next_step(folder: Path) -> str:
    if (folder / "best").exists():
        look = f"open {folder / 'report.html'} in a browser, or " if (folder / "report.html").exists() else ""
        return f"{look}hf-finetune predict {folder} FILE..."
    return RunFolder(folder).say_resume()
