"""What `scores.json` knows of transcripts, in words: for terminal, report and log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_finetune.formatting import as_finite, format_duration, format_name, format_score

__all__ = ["describe_transcripts", "tell_notes"]


def tell_notes(split: str, notes: Mapping[str, Any]) -> list[str]:
    """Say what a reader of the scores must know first, a sentence each."""
    told = []
    rows, empty, limited = (int(as_finite(notes.get(name)) or 0) for name in ("rows", "empty", "limited"))
    if rows and empty == rows:
        told.append(
            f"Every prediction of the {split} split is empty: the model writes nothing. It has learnt too "
            "little, or the wrong thing: look at the loss, the learning rate and the vocabulary."
        )
    if limited:
        named = ", ".join(str(row) for row in notes.get("limited_rows") or ())
        more = ", ..." if limited > len(notes.get("limited_rows") or ()) else ""
        told.append(
            f"{limited:,} of {rows:,} clips of the {split} split hit the limit of what is written "
            f"(task.max_tokens_per_second, generation_max_length): row{'s' * (limited > 1)} {named}{more}."
        )
    return told


def describe_transcripts(
    split: str, notes: Mapping[str, Any], scores: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return error rates with their intervals, the hours of sound and the real-time factor: (name, value).

    Args:
        split: What was scored.
        notes: Of it; nothing is said where there are none.
        scores: Of it, by name.
    """
    facts = []
    intervals = notes.get("interval")
    for name, interval in intervals.items() if isinstance(intervals, Mapping) else ():
        if isinstance(interval, list) and len(interval) == 2:
            low, high = (format_score(name, value) for value in interval)
            value = format_score(name, scores.get(name))
            facts.append((f"{split} {format_name(name)}", f"{value} (95 % interval {low} to {high})"))
    hours, factor = as_finite(notes.get("audio_hours")), as_finite(notes.get("real_time_factor"))
    if hours:
        speed = f", {factor:.3g} s of computing for 1 s (real-time factor)" if factor is not None else ""
        length = f"{hours:.3g} h" if hours >= 1 else format_duration(3600 * hours)
        facts.append((f"{split} sound", f"{length}{speed}"))
    empty, rows = as_finite(notes.get("empty")), as_finite(notes.get("rows"))
    if empty and rows and empty < rows:
        facts.append((f"{split} rows", f"{empty:.0f} of {rows:.0f} predictions are empty"))
    return facts
