"""What of a finished run goes to Comet: scores, confusion matrix, worst mistakes, report, best model."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from hf_finetune.formatting import flatten_keys
from hf_finetune.run_folder import RunFolder
from hf_finetune.tracking.base import flatten_numbers

__all__ = ["log_results"]

MODEL = "best"
PNG = b"\x89PNG"
SOUNDS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}
"""How the files of `predictions/worst.parquet` begin."""


def log_results(experiment: Any, folder: RunFolder, scores: Mapping[str, Any], *, log_model: bool) -> None:
    """Log what a finished run has found.

    Args:
        experiment: Of Comet, still going on.
        folder: Of the run.
        scores: What `scores.json` says; each number is a metric by its path in it, at the best update.
        log_model: Whether the best model goes along.
    """
    step = scores["best"]["step"]
    experiment.log_metrics(flatten_numbers(scores), step=step)
    words = flatten_keys(scores["best"], separator="/", prefix="scores/best/")
    experiment.log_others({name: value for name, value in words.items() if isinstance(value, str | bool)})
    if folder.environment.exists():
        content = json.loads(folder.environment.read_text(encoding="utf-8"))
        environment = flatten_keys(content, prefix="environment.")
        experiment.log_others({name: str(value) for name, value in environment.items()})
    _log_confusion(experiment, folder, scores, step)
    if folder.worst.exists():
        _log_mistakes(experiment, pq.read_table(folder.worst).to_pylist(), step)
    for path in (folder.report, folder.recipe, folder.scores, folder.environment):
        if path.exists():
            experiment.log_asset(str(path), file_name=path.name, step=step)
    if folder.report.exists():
        experiment.log_html(folder.report.read_text(encoding="utf-8"))
    for path in sorted(folder.worst.parent.glob("*.parquet")):
        experiment.log_asset(str(path), file_name=f"predictions/{path.name}", step=step)
    if log_model and folder.best.is_dir():
        experiment.log_model(MODEL, str(folder.best), metadata=dict(scores["best"]))


def _log_confusion(experiment: Any, folder: RunFolder, scores: Mapping[str, Any], step: int) -> None:
    labels = [str(label) for label in scores.get("labels") or []]
    for split in ("eval", "test"):
        matrix = scores["details"].get(split, {}).get("confusion_matrix")
        if matrix is None:
            matrix = _count_confusion(folder.predictions(split), labels)
        if matrix is not None and len(matrix) == len(labels):
            experiment.log_confusion_matrix(
                matrix=matrix,
                labels=labels,
                title=f"Confusion matrix, {split} split",
                file_name=f"confusion-matrix-{split}.json",
                max_categories=len(labels),
                step=step,
            )


def _count_confusion(predictions: Path, labels: Sequence[str]) -> list[list[int]] | None:
    """Count (label, prediction) pairs, where no metric has done it; None where they are no classes."""
    if not labels or not predictions.exists():
        return None
    rows = pq.read_table(predictions, columns=["label", "prediction"]).to_pydict()
    pairs = Counter(zip(rows["label"], rows["prediction"], strict=True)) if _are_words(rows) else {}
    matrix = [[pairs.get((label, prediction), 0) for prediction in labels] for label in labels]
    return matrix if sum(map(sum, matrix)) == len(rows["label"]) else None


def _are_words(rows: Mapping[str, list[Any]]) -> bool:
    return all(isinstance(value, str) for column in rows.values() for value in column)


def _log_mistakes(experiment: Any, rows: list[dict[str, Any]], step: int) -> None:
    """Log the worst mistakes: a table of words and numbers, and what was seen or heard, worst first."""
    plain = [{name: value for name, value in row.items() if not isinstance(value, bytes)} for row in rows]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(plain[0]))
    writer.writeheader()
    writer.writerows(plain)
    table.seek(0)
    experiment.log_asset(table, file_name="worst.csv", step=step)
    for rank, (row, words) in enumerate(zip(rows, plain, strict=True), 1):
        name = f"worst-{rank:02d}"
        told = {key: value for key, value in words.items() if key != "probabilities"}
        media = [value for value in row.values() if isinstance(value, bytes)]
        for content in media:
            _log_media(experiment, content, name, told, step)
        if not media:
            text = "\n".join(f"{key}: {value}" for key, value in told.items())
            experiment.log_text(text, step=step, metadata={"rank": rank} | told)


def _log_media(experiment: Any, content: bytes, name: str, metadata: dict[str, Any], step: int) -> None:
    if content.startswith(PNG):
        picture = Image.open(io.BytesIO(content))
        experiment.log_image(picture, name=f"{name}.png", metadata=metadata, step=step)
        return
    suffix = next((suffix for start, suffix in SOUNDS.items() if content.startswith(start)), ".bin")
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        experiment.log_audio(file.name, file_name=f"{name}{suffix}", metadata=metadata, step=step)
