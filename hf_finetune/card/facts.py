"""What each section of a card says, made from a record; no Markdown here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hf_finetune.card.metadata import data_name, find_base, is_adapter, task_name
from hf_finetune.formatting import as_finite, flatten_keys, format_duration, format_name, is_score
from hf_finetune.report.classes import Confusion
from hf_finetune.report.record import RunRecord
from hf_finetune.report.sections import list_duplicates, say_certainty, say_doubts
from hf_finetune.report.sound_use import list_sound_notes, read_rate
from hf_finetune.secrecy import is_secret
from hf_finetune.transcript_words import describe_transcripts, tell_notes
from hf_finetune.usage import show_adapter_usage, show_usage

__all__ = [
    "list_data",
    "list_environment",
    "list_limits",
    "list_scores",
    "list_settings",
    "say_best",
    "say_what",
    "show_use",
]

MAX_NAMES = 20
NOT_SETTINGS = ("output_dir", "disable_tqdm", "report_to", "run_name", "remove_unused_columns")
WEAK = 0.8
"""A class with an f1 below this is named among the limits."""


def say_what(record: RunRecord) -> str:
    """Say in a sentence what the model is."""
    data = data_name(record) or "a data set without a name"
    if record.lookup("model.from_scratch"):
        return f"A model for {task_name(record)}, trained from random weights on {data}."
    kind = "Adapters" if is_adapter(record) else "A model"
    checkpoint = find_base(record) or "a checkpoint that is not on the Hub"
    return f"{kind} for {task_name(record)}: {checkpoint}, fine-tuned on {data}."


def say_best(record: RunRecord) -> str:
    """Say which model this is: by which score it is the best, and where that was measured."""
    best = record.part("best")
    metric = str(best.get("metric") or record.lookup("training.metric_for_best_model", ""))
    value = as_finite(best.get("value") if best else record.progress.get("best_metric"))
    step = record.best_step
    if value is None or step is None:
        return "No evaluation chose among its checkpoints: these are the weights at the end of the training."
    so_far = "" if record.is_finished else ", so far: the training is not finished"
    split = best.get("split", "eval")
    return (
        f"Of all checkpoints it is the best by {format_name(metric)} on the {split} split, "
        f"{value:.6g} at update {step:.0f}{so_far}."
    )


def list_scores(record: RunRecord) -> tuple[list[str], list[list[str]]]:
    """Return the splits, and a row for each metric."""
    splits = [split for split in ("test", "eval") if record.part(split)]
    names = {name for split in splits for name, value in record.part(split).items() if is_score(name, value)}
    first = str(record.part("best").get("metric", "")).removeprefix("eval_")
    rows = []
    for name in sorted(names, key=lambda name: (name != first, name == "loss", name)):
        values = [as_finite(record.part(split).get(name)) for split in splits]
        rows.append([format_name(name), *("-" if value is None else f"{value:.6f}" for value in values)])
    return splits, rows


def show_use(record: RunRecord, source: str) -> str:
    """Return the snippet of this model.

    Args:
        record: Of the run.
        source: Hub id or folder to load it from.
    """
    task, rate, notes = task_name(record), read_rate(record), list_sound_notes(record)
    if not is_adapter(record):
        return show_usage(task, source, sampling_rate=rate, notes=notes)
    return show_adapter_usage(
        task,
        source,
        base=str(record.lookup("model.checkpoint", "")),
        base_revision=record.environment.get("checkpoint_revision"),
        labels=[str(name) for name in record.scores.get("labels") or ()],
        is_ctc=record.scores.get("problem_type") == "ctc",
        is_writer=record.scores.get("problem_type") == "seq2seq",
        sampling_rate=rate,
        notes=notes,
    )


def list_data(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Say what it was trained on."""
    stamp = record.environment
    yield "data set", " ".join(filter(None, (data_name(record), record.lookup("data.name"))))
    if stamp.get("dataset_revision"):
        yield "revision", str(stamp["dataset_revision"])
    rows = stamp.get("rows")
    if isinstance(rows, Mapping):
        yield "rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())
    columns = stamp.get("columns")
    if isinstance(columns, Mapping):
        yield "columns", ", ".join(f"{role}: {column}" for role, column in columns.items())
    augment = record.lookup("data.augment") or ()
    if augment:
        yield "augmentation", ", ".join(_name_with_options(one) for one in augment)
    if stamp.get("data_fingerprint"):
        yield "fingerprint", str(stamp["data_fingerprint"])


def _name_with_options(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return str(entry)
    options = ", ".join(f"{key}={value}" for key, value in entry.items() if key != "name")
    return f"{entry.get('name')}({options})" if options else str(entry.get("name"))


def list_settings(record: RunRecord) -> Iterator[tuple[str, str]]:
    """List the settings of the training, as the recipe has them."""
    train = record.part("train")
    yield "engine", str(record.lookup("engine", "trainer"))
    for key, value in flatten_keys(record.lookup("training", {})).items():
        if key not in NOT_SETTINGS and not is_secret(key):
            yield key, str(value)
    for key in ("loss", "model.peft", "model.freeze", "early_stopping"):
        value = record.lookup(key)
        if value:
            yield key, json.dumps(value, default=str)
    for name, key in (("updates", "updates"), ("parameters", "num_parameters"), ("trained", "num_trained")):
        if as_finite(train.get(key)) is not None:
            yield name, f"{int(train[key]):,}"
    runtime = as_finite(train.get("runtime_s"))
    if runtime is not None:
        yield "training time", format_duration(runtime)


def list_environment(record: RunRecord) -> Iterator[tuple[str, str]]:
    """List versions and hardware."""
    stamp = record.environment
    for key in ("started", "git_commit", "python", "platform", "cpu", "num_processes"):
        if stamp.get(key):
            yield key, str(stamp[key])
    if stamp.get("accelerators"):
        yield "accelerators", ", ".join(map(str, stamp["accelerators"]))
    packages = stamp.get("packages")
    for name, version in packages.items() if isinstance(packages, Mapping) else ():
        if version:
            yield name, str(version)


def list_limits(record: RunRecord, confusion: Confusion | None) -> Iterator[str]:
    """Say what the scores do not say."""
    names = [str(name) for name in record.scores.get("labels") or ()]
    if names and record.scores.get("problem_type") == "single_label_classification":
        shown = ", ".join(names[:MAX_NAMES]) + (
            f" ... ({len(names)} in all)" if len(names) > MAX_NAMES else ""
        )
        yield f"It knows {len(names)} classes ({shown}) and takes everything else for one of them."
    doubts = say_doubts(record)
    yield from doubts
    for what, _ in list_duplicates(record):
        sentence = f"{what[:1].upper()}{what[1:]}."
        if sentence not in doubts:
            yield sentence
    if record.is_finished and not record.part("test"):
        yield (
            "There was no test split: the scores are of the split by which the best model was chosen, "
            "and so a little too good."
        )
    if certain := say_certainty(record, confusion):
        yield certain
    for split in ("test", "eval"):
        notes = record.part("transcripts", split)
        yield from tell_notes(split, notes)
        for name, value in describe_transcripts(split, notes, record.part(split)):
            yield f"{name}: {value}."
    weak = [one for one in confusion.per_class if one.f1 is not None and one.f1 < WEAK] if confusion else []
    if weak:
        listed = ", ".join(
            f"{one.name} ({one.f1:.2f})" for one in sorted(weak, key=lambda one: one.f1 or 0)[:5]
        )
        yield f"It is weakest at (f1 on the {confusion.split} split): {listed}." if confusion else ""
    for split, rows in (record.environment.get("dropped_rows") or {}).items():
        if rows:
            yield f"{len(rows)} unreadable rows of the {split} split were left out."
    if not record.lookup("hub.license"):
        yield "Its license was not stated; that of the base model and of the data set hold for it, too."
    yield (
        "It was measured on the splits above and on nothing else: not on other sources of data, and not for "
        "how it treats groups of people."
    )
