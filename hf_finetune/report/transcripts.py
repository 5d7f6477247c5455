"""Word error rate taken apart: kinds of errors, lengths of clips, groups of rows, words taken for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_finetune.metrics_modules.transcripts import NORMALIZERS, Edits, Step, align, build_normalizer
from hf_finetune.report.record import RunRecord

__all__ = ["Part", "Transcripts", "align_texts", "build_transcripts", "find_normalizer", "is_text"]

MAX_ROWS = 20_000
MAX_GROUPS = 40
MAX_CONFUSED = 12
NUM_BINS = 5


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of a split.

    Args:
        name: Which rows.
        num_rows: How many.
        edits: Of their words, all together.
    """

    name: str
    num_rows: int
    edits: Edits

    @property
    def rate(self) -> float | None:
        """Errors over words; None where nothing was to be said."""
        return self.edits.num_errors / self.edits.num_units if self.edits.num_units else None


@dataclass(frozen=True, kw_only=True)
class Transcripts:
    """What the transcripts of a split show.

    Args:
        split: Which split.
        whole: All rows.
        num_right: Rows without an error.
        num_left_out: Rows that were not looked at, of a very large split.
        normalizer: What both texts went through.
        by_length: Rows by the length of their clips, short ones first.
        by_group: Rows by their group, the worst first.
        confused: (word, taken for, how often), the most frequent first.
    """

    split: str
    whole: Part
    num_right: int
    num_left_out: int
    normalizer: str
    by_length: list[Part]
    by_group: list[Part]
    confused: list[tuple[str, str, int]]


def is_text(record: RunRecord) -> bool:
    """Tell whether the model writes text."""
    return record.scores.get("problem_type") in ("ctc", "seq2seq")


def build_transcripts(record: RunRecord) -> Transcripts | None:
    """Take the word error rate apart; None for runs that write no text."""
    labels, said = (record.predictions.get(name, []) for name in ("label", "prediction"))
    if not is_text(record) or not labels or len(labels) != len(said):
        return None
    normalizer = find_normalizer(record)
    rows = [align_texts(a, b, normalizer) for a, b in zip(labels[:MAX_ROWS], said[:MAX_ROWS], strict=True)]
    edits = [_count(steps) for steps in rows]
    confused = Counter(
        (step.reference, step.hypothesis) for steps in rows for step in steps if step.kind == "substitute"
    )
    return Transcripts(
        split=record.predictions_split,
        whole=_add_up("all", edits),
        num_right=sum(not edit.num_errors for edit in edits),
        num_left_out=len(labels) - len(rows),
        normalizer=normalizer,
        by_length=_by_length(record.predictions.get("seconds", []), edits),
        by_group=_by_group(record.predictions.get("group", []), edits),
        confused=[(a, b, n) for (a, b), n in confused.most_common(MAX_CONFUSED)],
    )


def align_texts(label: Any, prediction: Any, normalizer: str) -> list[Step]:
    """Align a transcript with what was written, after both went through the metric's normaliser."""
    normalize = build_normalizer(normalizer)
    return align(normalize(str(label or "")), normalize(str(prediction or "")))


def find_normalizer(record: RunRecord) -> str:
    """Return the normaliser of the recipe's first word error rate."""
    metrics = record.recipe.get("metrics") or []
    for metric in metrics if isinstance(metrics, list) else []:
        if isinstance(metric, Mapping) and metric.get("name") == "wer":
            name = metric.get("normalizer")
            return str(name) if name in NORMALIZERS else "none"
        if metric == "wer":
            break
    return "none"


def _count(steps: Sequence[Step]) -> Edits:
    counts = dict.fromkeys(("equal", "substitute", "delete", "insert"), 0)
    for step in steps:
        counts[step.kind] += len((step.hypothesis if step.kind == "insert" else step.reference).split())
    num_units = counts["equal"] + counts["substitute"] + counts["delete"]
    return Edits(counts["substitute"], counts["delete"], counts["insert"], num_units)


def _add_up(name: str, edits: Sequence[Edits]) -> Part:
    total = Edits(*(sum(column) for column in zip(*edits, strict=True)))
    return Part(name=name, num_rows=len(edits), edits=total)


def _by_length(seconds: Sequence[Any], edits: Sequence[Edits]) -> list[Part]:
    """Cut the rows into bins of about as many rows each."""
    if len(seconds) < len(edits) or len(edits) < NUM_BINS:
        return []
    lengths = np.array([float(value) for value in seconds[: len(edits)]])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, NUM_BINS + 1)))
    bins = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    parts = []
    for number in np.unique(bins):
        rows = np.flatnonzero(bins == number)
        low, high = lengths[rows].min(), lengths[rows].max()
        name = f"{low:.2f} to {high:.2f} s" if high > low else f"{low:.2f} s"
        parts.append(_add_up(name, [edits[int(row)] for row in rows]))
    return parts


def _by_group(groups: Sequence[Any], edits: Sequence[Edits]) -> list[Part]:
    if len(groups) < len(edits):
        return []
    rows_of: dict[str, list[Edits]] = {}
    for group, edit in zip(groups, edits, strict=False):
        rows_of.setdefault(str(group), []).append(edit)
    parts = [_add_up(name, rows) for name, rows in rows_of.items()]
    return sorted(parts, key=lambda part: (-(part.rate or 0.0), part.name))[:MAX_GROUPS]
