"""Read a run folder, whatever state it is in: missing and damaged parts become notes, never errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_finetune.errors import RunFolderError
from hf_finetune.formatting import as_finite
from hf_finetune.run_folder import RunFolder, check_best, describe_mismatch
from hf_finetune.secrecy import hide_in, hide_secrets

__all__ = ["RunRecord", "checkpoint_names", "read_run"]

logger = logging.getLogger(__name__)

PREDICTION_COLUMNS = ("row", "label", "prediction", "probability", "seconds", "group")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run folder says. Every part may be empty.

    Args:
        folder: The run folder, as it was given.
        recipe_text: `recipe.yaml` as it stands, without secrets.
        recipe: The same, parsed; empty when it could not be.
        environment: `environment.json`.
        scores: `scores.json`; empty while the run goes on.
        log: `log.jsonl`, one mapping a line.
        baseline_log: The same for the run from random weights.
        predictions: Columns of the predictions by name; without the probabilities of all classes.
        predictions_split: What `predictions` and `worst` are of: "eval" for a run without a test split.
        worst: The worst mistakes, worst first, with PNG bytes under "image" where there are pictures.
        progress: `trainer_state.json` of the newest checkpoint; empty when there is none.
        trackers: What each tracker remembers, and under "place" where the experiment is.
        damage: What is wrong with the best model, where that was checked: the scores may not be its own.
        notes: What could not be read, for the reader of the report.
    """

    folder: Path
    recipe_text: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    log: tuple[Mapping[str, Any], ...] = ()
    baseline_log: tuple[Mapping[str, Any], ...] = ()
    predictions: Mapping[str, list[Any]] = field(default_factory=dict)
    predictions_split: str = "test"
    worst: tuple[Mapping[str, Any], ...] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)
    trackers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    damage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether the run reached its end: its scores are written last."""
        return bool(self.scores)

    @property
    def overlaps(self) -> list[str]:
        """What is wrong with scores of splits that are the same rows, a sentence each."""
        told = self.environment.get("overlaps")
        return [str(one) for one in told] if isinstance(told, list) else []

    @property
    def duplicates(self) -> list[Mapping[str, Any]]:
        """Inputs that are in several rows: "what", "splits" and "examples" each."""
        told = self.environment.get("duplicates")
        return [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []

    @property
    def best_step(self) -> float | None:
        """The update of the best model, also of a run that has not finished."""
        step = as_finite(self.part("best").get("step"))
        return step if step is not None else as_finite(self.progress.get("best_global_step"))

    def part(self, *keys: str) -> Mapping[str, Any]:
        """Return a nested mapping of the scores; an empty one where there is none."""
        value: Any = self.scores
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}

    def lookup(self, dotted: str, default: Any = None) -> Any:
        """Return a value of the recipe by its dotted key, or `default` where there is none."""
        value: Any = self.recipe
        for key in dotted.split("."):
            if not isinstance(value, Mapping) or value.get(key) is None:
                return default
            value = value[key]
        return value


def read_run(folder: Path, *, check: bool = False) -> RunRecord:
    """Read all of a run folder that a report shows.

    Args:
        folder: As `training.output_dir` of the recipe; the run may be going on or have been interrupted.
        check: Compare the best model with its manifest, and note what is damaged.

    Raises:
        RunFolderError: It is not the folder of a run.
    """
    known = ("recipe.yaml", "log.jsonl", "scores.json")
    if not any((folder / name).is_file() for name in known):
        raise RunFolderError(
            f"this is not the folder of a run: none of {', '.join(known)} is in it",
            where=str(folder),
            todo="Name the training.output_dir of a run.",
        )
    notes: list[str] = []
    recipe_text = _read(folder / "recipe.yaml", _read_text, notes) or ""
    scores = _mapping(_read(folder / "scores.json", _read_json, notes))
    predictions = folder / "predictions"
    split = (
        "eval"
        if (predictions / "eval.parquet").exists() and not (predictions / "test.parquet").exists()
        else "test"
    )
    return RunRecord(
        folder=folder,
        recipe_text=hide_secrets(recipe_text),
        recipe=hide_in(_mapping(_read(folder / "recipe.yaml", _read_yaml, notes))),
        environment=hide_in(_mapping(_read(folder / "environment.json", _read_json, notes))),
        scores=scores,
        log=_read_log(folder / "log.jsonl", notes),
        baseline_log=_read_log(folder / "baseline.log.jsonl", notes),
        predictions=_read(predictions / f"{split}.parquet", _read_predictions, notes) or {},
        predictions_split=split,
        worst=tuple(_read(predictions / "worst.parquet", _read_rows, notes) or ()),
        progress=_read_progress(folder),
        trackers=RunFolder(folder).load_trackers(),
        damage=_check_best(RunFolder(folder), scores) if check else (),
        notes=tuple(dict.fromkeys(notes)),
    )


def _check_best(folder: RunFolder, scores: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with the best model, and say it in the terminal, too."""
    if not scores or not folder.best.is_dir():
        return ()
    try:
        check_best(folder.best, scores, todo=folder.say_anew())
    except RunFolderError as error:
        logger.warning(error)
        return (f"The best model is damaged: {error.what}.",)
    mismatch = describe_mismatch(folder.best, scores)
    if mismatch:
        logger.warning("%s: %s. Score it: %s", folder.path, mismatch, folder.say_resume())
    return (f"{mismatch}.",) if mismatch else ()


def _read(path: Path, reader: Callable[[Path], Any], notes: list[str]) -> Any:
    """Return None for a file that is not there, and for one that cannot be read, with a note."""
    if not path.is_file():
        return None
    try:
        return reader(path)
    except Exception as error:  # a report of a damaged run is worth more than none
        notes.append(f"{path.name} could not be read: {type(error).__name__}")
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_yaml(path: Path) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def _read_log(path: Path, notes: list[str]) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        return ()
    entries: list[Mapping[str, Any]] = []
    num_torn = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry = json.loads(line) if line.strip() else None
            except ValueError:
                num_torn += 1
                continue
            if isinstance(entry, Mapping):
                entries.append(entry)
    if num_torn:
        notes.append(f"{path.name}: {num_torn} torn line{'s' if num_torn > 1 else ''} left out")
    return tuple(entries)


def _read_predictions(path: Path) -> dict[str, list[Any]]:
    """Leave the probabilities of all classes on disk: 1000 classes times 50k rows would fill the memory."""
    import pyarrow.parquet as pq

    there = [name for name in PREDICTION_COLUMNS if name in pq.read_schema(path).names]
    return dict(pq.read_table(path, columns=there).to_pydict())


def _read_rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return list(pq.read_table(path).to_pylist())


def _read_progress(folder: Path) -> Mapping[str, Any]:
    """Return the newest readable trainer state: it alone knows how many updates were planned."""
    for name in reversed(checkpoint_names(folder)):
        state = _mapping(_read(folder / name / "trainer_state.json", _read_json, []))
        if state:
            return state
    return {}


def checkpoint_names(folder: Path) -> list[str]:
    """Return the names of the checkpoint folders in the order of their updates."""
    steps = [path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*") if path.is_dir()]
    return [f"checkpoint-{step}" for step in sorted((step for step in steps if step.isdecimal()), key=int)]
