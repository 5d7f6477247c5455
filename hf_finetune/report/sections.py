"""What each section of the page says, made from a record; no HTML here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from hf_finetune.formatting import (
    MISSING,
    as_finite,
    as_float,
    format_duration,
    format_name,
    format_number,
    format_rate,
    format_score,
    is_score,
    wilson_interval,
)
from hf_finetune.report.classes import Confusion
from hf_finetune.report.curves import build_curves
from hf_finetune.report.record import RunRecord
from hf_finetune.run_folder import RunFolder
from hf_finetune.transcript_words import describe_transcripts, tell_notes

__all__ = [
    "BASELINE",
    "Headline",
    "ScoreTable",
    "build_alerts",
    "build_headline",
    "build_scores",
    "build_speed",
    "build_tiles",
    "flatten",
    "list_duplicates",
    "say_certainty",
    "say_doubts",
    "say_expected",
]

BASELINE = "from random weights"
MAX_FACT = 400


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first screen.

    Args:
        task: Of the recipe.
        checkpoint: What was fine-tuned.
        data: On which data set.
        metric: The best model was chosen by it; empty when there is none.
        value: Its best value.
        place: Where that was measured and at which update.
        is_final: False when the value is the best so far.
    """

    task: str
    checkpoint: str
    data: str
    metric: str
    value: str
    place: str
    is_final: bool


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores by metric (rows) and by split (groups of columns), the baseline's beside them."""

    groups: list[tuple[str, list[str]]]
    rows: list[tuple[str, list[str]]]
    has_baseline: bool


def build_headline(record: RunRecord) -> Headline:
    """Say what was trained on what, and how good it got."""
    task = record.recipe.get("task", "")
    best = record.part("best")
    metric = str(best.get("metric") or record.lookup("training.metric_for_best_model", ""))
    value = best.get("value") if best else record.progress.get("best_metric")
    step = record.best_step
    has_value = as_float(value) is not None
    split = best.get("split") or "eval"
    at = f", update {format_number(int(step))}" if step is not None else ""
    return Headline(
        task=str(task.get("name", "") if isinstance(task, Mapping) else task),
        checkpoint=_shorten(record.lookup("model.checkpoint")),
        data=" ".join(
            filter(None, (_shorten(record.lookup(f"data.{key}")) for key in ("path", "name", "data_dir")))
        ),
        metric=format_name(metric) if has_value else "",
        value=format_score(metric, value) if has_value else "",
        place=f"{split} split{at}" if has_value else "",
        is_final=bool(best),
    )


def _shorten(name: Any) -> str:
    """Keep the end of a path on this machine; the whole one stands in the recipe."""
    text = str(name) if name is not None else ""
    is_here = PurePath(text).is_absolute() or text.startswith("~")
    return "/".join(PurePath(text).parts[-2:]) if is_here else text


def build_tiles(record: RunRecord) -> list[tuple[str, str]]:
    """Return the few numbers that stand beside the best metric."""
    metric = str(record.part("best").get("metric", "")).removeprefix("eval_")
    train = record.part("train")
    tiles = []
    for split in ("test", "eval"):
        ours, base = record.part(split).get(metric), record.part("baseline", split).get(metric)
        if split == "test" and ours is not None:
            tiles.append((f"{format_name(metric)}, {split} split", format_score(metric, ours)))
        if base is not None:
            tiles.append((f"{format_name(metric)}, {BASELINE}, {split} split", format_score(metric, base)))
            break
    runtime, speed = as_finite(train.get("runtime_s")), as_finite(train.get("samples_per_second"))
    if runtime is not None:
        tiles.append(("training time", format_duration(runtime)))
    if speed is not None:
        tiles.append(("samples per second", format_rate(speed)))
    return tiles


def build_alerts(record: RunRecord) -> list[str]:
    """Say first what a reader must know before believing the numbers."""
    alerts = [*record.damage, *say_doubts(record)]
    for split in ("test", "eval"):
        alerts += tell_notes(split, record.part("transcripts", split))
    curves = build_curves(record.log)
    last = max((as_finite(entry.get("step")) or 0.0 for entry in record.log), default=0.0)
    if not record.is_finished:
        planned = as_finite(record.progress.get("max_steps"))
        of = f" of {format_number(int(planned))}" if planned and planned > 0 else ""
        where = (
            f"The last log entry is of update {format_number(int(last))}{of}."
            if last
            else "Nothing is logged yet."
        )
        alerts.append(
            f"This run is still going on, or was interrupted. {where} Scores come when it has finished; "
            f"{RunFolder(record.folder).say_resume()} goes on with it."
        )
    for key, words in (("loss", "training loss"), ("grad_norm", "gradient norm"), ("eval_loss", "eval loss")):
        holes = curves[key].holes if key in curves else []
        if holes:
            times = f"in {format_number(len(holes))} log entries" if len(holes) > 1 else "once"
            first = format_number(int(holes[0]))
            alerts.append(f"The {words} was not a finite number {times}, first at update {first}.")
    dropped = record.environment.get("dropped_rows")
    for split, rows in dropped.items() if isinstance(dropped, Mapping) else ():
        count = len(rows) if isinstance(rows, Sequence) and not isinstance(rows, str) else as_finite(rows)
        if count:
            alerts.append(f"{format_number(int(count))} unreadable rows of the {split} split were left out.")
    if record.is_finished and not record.part("test"):
        alerts.append(
            "There is no test split: the scores are of the split by which the best model was chosen, "
            "and so a little too good."
        )
    return alerts


def say_doubts(record: RunRecord) -> list[str]:
    """Say why scores may be too good: rows that are in two splits."""
    shared = [str(one.get("what")) for one in record.duplicates if one.get("splits")]
    return [f"{text[:1].upper()}{text[1:]}." for text in [*record.overlaps, *shared]]


def list_duplicates(record: RunRecord) -> list[tuple[str, list[str]]]:
    """Return what there is of inputs in several rows, and examples of it."""
    found = []
    for one in record.duplicates:
        examples = one.get("examples")
        listed = [str(example) for example in examples] if isinstance(examples, list) else []
        found.append((str(one.get("what")), listed))
    return found


def build_scores(record: RunRecord) -> ScoreTable | None:
    """Set the scores of the best model side by side with those of the baseline."""
    splits = [split for split in ("test", "eval") if record.part(split)]
    if not splits:
        return None
    ours = {split: record.part(split) for split in splits}
    base = {split: record.part("baseline", split) for split in splits}
    groups = [
        (f"{split} split", ["fine-tuned", *([BASELINE, "difference"] if base[split] else [])])
        for split in splits
    ]
    metric = str(record.part("best").get("metric", "")).removeprefix("eval_")
    names = {name for split in splits for name, value in ours[split].items() if is_score(name, value)}
    rows = []
    for name in sorted(names, key=lambda name: (name != metric, name == "loss", name)):
        row = []
        for split in splits:
            first, second = ours[split].get(name), base[split].get(name)
            row.append(format_score(name, first))
            row += [format_score(name, second), _difference(name, first, second)] if base[split] else []
        rows.append((format_name(name), row))
    return ScoreTable(groups=groups, rows=rows, has_baseline=any(base.values()))


def _difference(name: str, ours: Any, base: Any) -> str:
    first, second = as_finite(ours), as_finite(base)
    if first is None or second is None:
        return MISSING
    return ("+" if first > second else "") + format_score(name, first - second)


def build_speed(record: RunRecord) -> list[tuple[str, str]]:
    """Say how long it took and how fast it was."""
    train, facts = record.part("train"), []
    for split in ("test", "eval"):
        facts += describe_transcripts(split, record.part("transcripts", split), record.part(split))
    runtime, speed = as_finite(train.get("runtime_s")), as_finite(train.get("samples_per_second"))
    if runtime is not None:
        facts.append(("training time", format_duration(runtime)))
    if speed is not None:
        facts.append(("training throughput", f"{format_rate(speed)} samples/s"))
    if train.get("updates") is not None:
        facts.append(("updates", format_number(train["updates"])))
    padding = as_finite(train.get("padding"))
    if padding is not None:
        facts.append(("padding in the training batches", f"{100 * padding:.1f} %"))
    rates = [as_finite(entry.get("eval_samples_per_second")) for entry in record.log]
    evaluated = sorted(rate for rate in rates if rate is not None)
    if evaluated:
        facts.append(
            ("evaluation throughput", f"{format_rate(evaluated[len(evaluated) // 2])} samples/s (median)")
        )
    total, trained = as_finite(train.get("num_parameters")), as_finite(train.get("num_trained"))
    if total:
        facts.append(("parameters", format_number(int(total))))
    if total and trained is not None:
        facts.append(("trained parameters", f"{format_number(int(trained))} ({100 * trained / total:.3g} %)"))
    if record.lookup("engine"):
        facts.append(("engine", str(record.lookup("engine"))))
    hardware = record.environment.get("accelerators") or record.environment.get("cpu")
    if hardware:
        facts.append(
            ("hardware", ", ".join(map(str, hardware)) if isinstance(hardware, list) else str(hardware))
        )
    if record.environment.get("num_processes"):
        facts.append(("processes", format_number(record.environment["num_processes"])))
    return facts


def say_certainty(record: RunRecord, confusion: Confusion | None) -> str:
    """Say how far the accuracy can be trusted, given how many rows it was measured on."""
    accuracy = as_finite(record.part(confusion.split).get("accuracy")) if confusion is not None else None
    if confusion is None or accuracy is None or not 0 <= accuracy <= 1:
        return ""
    low, high = wilson_interval(accuracy, confusion.num_rows)
    return (
        f"With {format_number(confusion.num_rows)} rows in the {confusion.split} split, "
        f"the 95 % interval of its accuracy is {low:.3f} to {high:.3f}."
    )


def say_expected(record: RunRecord) -> list[str]:
    """Say whether the scores are what the recipe promises."""
    expected = record.lookup("expected", {})
    sentences = []
    for key, wanted in expected.items() if isinstance(expected, Mapping) else ():
        split, _, name = str(key).partition("_")
        goal, found = as_finite(wanted), as_finite(record.part(split).get(name))
        if split in ("eval", "test") and goal is not None and found is not None:
            tolerance = as_finite(expected.get("tolerance")) or 0.0
            verdict = "as expected" if abs(found - goal) <= tolerance + 1e-12 else "not as expected"
            sentences.append(
                f"The recipe expects {format_name(name)} {format_number(goal)} ± {format_number(tolerance)} "
                f"on the {split} split: {format_number(found)} is {verdict}."
            )
    return sentences


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Turn nested mappings into rows of dotted key and value.

    Example:
        >>> flatten({"python": "3.11", "packages": {"torch": "2.13.0", "peft": None}, "seeds": [1, 2]})
        [('python', '3.11'), ('packages.torch', '2.13.0'), ('packages.peft', '-'), ('seeds', '1 2')]
    """
    if isinstance(value, Mapping):
        return [
            row
            for key, item in value.items()
            for row in flatten(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    text = MISSING if value is None or value == "" else str(value)
    return [(prefix, text if len(text) <= MAX_FACT else f"{text[:MAX_FACT]} ...")]
