"""A record -> one HTML file that needs nothing else: no network, no other file, no foreign script."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from hf_finetune.atomic_io import write_bytes
from hf_finetune.formatting import format_number
from hf_finetune.report.classes import build_confusion, score_labels
from hf_finetune.report.mistakes import build_mistakes
from hf_finetune.report.record import RunRecord, checkpoint_names, read_run
from hf_finetune.report.regression import build_residuals
from hf_finetune.report.sections import (
    build_alerts,
    build_headline,
    build_scores,
    build_speed,
    build_tiles,
    flatten,
    list_duplicates,
    say_certainty,
    say_expected,
)
from hf_finetune.report.sound_use import list_sound_notes, read_rate
from hf_finetune.report.training import build_charts, build_evaluations
from hf_finetune.report.transcripts import build_transcripts
from hf_finetune.secrecy import CONTROL, hide_secrets
from hf_finetune.usage import show_usage

__all__ = ["render_report", "write_report"]

FILES = (
    ("best", "the best model and its processor"),
    ("scores.json", "all scores, by split"),
    ("predictions", "every prediction on the test split, as parquet"),
    ("log.jsonl", "the log, one JSON object a line"),
    ("recipe.yaml", "the resolved recipe; hf-finetune run takes it as it is"),
    ("environment.json", "versions, revisions, seeds, hardware"),
)


TOLD_ABOVE = ("overlaps", "duplicates")


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    A page from the same folder is the same to the byte. A run that is going on or was interrupted gets a
    page of what there is.

    Args:
        run_folder: As `training.output_dir` of the recipe.

    Raises:
        RunFolderError: It is not the folder of a run.
    """
    target = run_folder / "report.html"
    # A lone surrogate can come in through JSON and has no UTF-8 form; HTML has no control characters.
    page = CONTROL.sub("\ufffd", hide_secrets(render_report(read_run(run_folder, check=True))))
    write_bytes(target, page.encode("utf-8", "replace"))
    return target


def render_report(record: RunRecord) -> str:
    """Return the page of a record."""
    page = _templates()
    style, script = _asset("style.css"), _asset("script.js")
    large, small = build_charts(record)
    headline = build_headline(record)
    confusion = build_confusion(record)
    return page.get_template("report.html.jinja").render(
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; img-src data:; media-src data:; style-src '{_hash(style)}'; "
            f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
        ),
        record=record,
        headline=headline,
        alerts=build_alerts(record),
        scores=build_scores(record),
        started=_moment(record.environment.get("started")),
        mistake_split=record.predictions_split,
        tiles=build_tiles(record),
        score_notes=[*say_expected(record), say_certainty(record, confusion)],
        large_charts=large,
        small_charts=small,
        evaluations=build_evaluations(record),
        confusion=confusion,
        labels=score_labels(record),
        targets=build_residuals(record),
        transcripts=build_transcripts(record),
        mistakes=build_mistakes(record),
        speed=build_speed(record),
        files=[(name, what) for name, what in FILES if (record.folder / name).exists()],
        trackers=[(name, memory.get("place")) for name, memory in record.trackers.items()],
        checkpoints=checkpoint_names(record.folder),
        snippet=_show_use(record, headline.task),
        duplicates=list_duplicates(record),
        environment=flatten({k: v for k, v in record.environment.items() if k not in TOLD_ABOVE}),
    )


def _show_use(record: RunRecord, task: str) -> str:
    if not task:
        return ""
    place = (record.folder / "best").as_posix()
    return show_usage(task, place, sampling_rate=read_rate(record), notes=list_sound_notes(record))


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("hf_finetune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=format_number, base64=_base64, breakable=_breakable)
    return environment


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Name an inline style or script for the content security policy."""
    return f"sha256-{_base64(hashlib.sha256(text.encode('utf-8')).digest())}"


def _breakable(text: str) -> Markup:
    """Let a path break after its slashes before it breaks in the middle of a word."""
    return escape(text).replace("/", Markup("/<wbr>"))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _moment(value: Any) -> str:
    """Format an ISO time to the minute; what is none stays as it is."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)[:40] if value else ""
    return f"{moment:%Y-%m-%d %H:%M} {moment.tzname() or ''}".strip()
