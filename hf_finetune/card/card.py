"""A record -> `README.md` with the metadata that the Hub reads, and `curves.png` beside it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from jinja2 import Environment, PackageLoader, StrictUndefined

from hf_finetune.atomic_io import write_bytes
from hf_finetune.card import facts
from hf_finetune.card.metadata import build_metadata
from hf_finetune.card.picture import draw_charts
from hf_finetune.report import write_report
from hf_finetune.report.classes import build_confusion
from hf_finetune.report.record import RunRecord, read_run
from hf_finetune.report.training import build_charts
from hf_finetune.run_folder import RunFolder
from hf_finetune.secrecy import CONTROL, hide_secrets

__all__ = ["render_card", "write_card", "write_pages"]

logger = logging.getLogger(__name__)

PICTURE = "curves.png"


def write_card(run_folder: Path, *, repo_id: str | None = None, into: Path | None = None) -> dict[str, Path]:
    """Write the card of a run, and its picture when there is something to draw.

    Args:
        run_folder: Of a run, finished or not.
        repo_id: Where the model will be found; its folder here when left out.
        into: Folder for the two files; the run folder when left out.

    Returns:
        Name -> file.

    Raises:
        RunFolderError: It is not the folder of a run.
    """
    record = read_run(run_folder)
    target = into or run_folder
    charts = build_charts(record)[0]
    files = {"README.md": render_card(record, repo_id=repo_id).encode("utf-8", "replace")}
    if charts:
        files[PICTURE] = draw_charts(charts)
    for name, content in files.items():
        write_bytes(target / name, content)
    return {name: target / name for name in files}


def write_pages(run_folder: Path) -> Path:
    """Write the report of a run, and of a finished one the card with its picture, and return the report.

    They are made from what is in the folder, so that they can always be made again; predictions are not.

    Args:
        run_folder: Of a run, finished or not.

    Raises:
        RunFolderError: It is not the folder of a run.
    """
    folder = RunFolder(run_folder)
    report = write_report(run_folder)
    record = read_run(run_folder)
    if record.is_finished and folder.best.is_dir():
        write_card(run_folder, repo_id=record.lookup("hub.repo_id"))
        for split in ("eval", "test"):
            path = folder.predictions(split)
            if record.part(split) and not path.is_file():
                again = f"hf-finetune run {folder.recipe} --resume"
                logger.warning("%s is missing, and the report lacks what it shows; make it: %s", path, again)
    return report


def render_card(record: RunRecord, *, repo_id: str | None = None) -> str:
    """Return the card of a record: metadata between dashes, then Markdown.

    Args:
        record: Of a run, finished or not.
        repo_id: Where the model will be found; its folder here when left out.
    """
    name = (repo_id or record.folder.resolve().name).rpartition("/")[2]
    confusion = build_confusion(record)
    splits, scores = facts.list_scores(record)
    text = _template().render(
        name=name,
        what=facts.say_what(record),
        best=facts.say_best(record),
        splits=splits,
        scores=scores,
        snippet=facts.show_use(record, repo_id or (record.folder / "best").as_posix()),
        picture=PICTURE if build_charts(record)[0] else "",
        data=list(facts.list_data(record)),
        settings=list(facts.list_settings(record)),
        confusion=confusion,
        limits=list(facts.list_limits(record, confusion)),
        environment=list(facts.list_environment(record)),
        imports=[Path(str(path)).name for path in record.lookup("imports") or ()],
        packages={
            key: version
            for key, version in (record.environment.get("packages") or {}).items()
            if key in ("hf-finetune", "torch", "transformers", "datasets", "accelerate", "peft") and version
        },
    )
    head = build_metadata(record, name=name).to_yaml(line_break="\n")
    whole = CONTROL.sub("\ufffd", hide_secrets(f"---\n{head}\n---\n\n{text}"))
    return str(ModelCard(whole, ignore_metadata_errors=False))


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("hf_finetune.card"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(cell=_cell, row=_row)
    return environment.get_template("card.md.jinja")


def _row(cells: Iterable[Any]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(value: Any) -> str:
    """Make text of the data harmless: no markup, no new line, no new cell."""
    text = hide_secrets(" ".join(str(value).split()))[:1000]
    return re.sub(r"([\\|`*_\[\]<>#~])", r"\\\1", text)
