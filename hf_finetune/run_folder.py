"""The folder of a run: what lies where in it, and who may write to it."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_finetune.errors import RunFolderError
from hf_finetune.secrecy import hide_in, hide_secrets

__all__ = ["RunFolder", "write_json", "write_text"]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Args:
        path: `training.output_dir` of the recipe.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, loadable again."""
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        """Versions, revisions, fingerprint, seeds, hardware."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """One JSON object a line, as logged."""
        return self.path / "log.jsonl"

    @property
    def best(self) -> Path:
        """The best model and its processor, for plain `from_pretrained`."""
        return self.path / "best"

    @property
    def scores(self) -> Path:
        """The scores of each split, of the best model."""
        return self.path / "scores.json"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def card(self) -> Path:
        """The model card, to be looked at on the Hub."""
        return self.path / "README.md"

    @property
    def curves(self) -> Path:
        """The picture in the card."""
        return self.path / "curves.png"

    @property
    def baseline(self) -> Path:
        """The run from random weights, when the recipe asks for one; only its log stays."""
        return self.path / "baseline"

    @property
    def baseline_log(self) -> Path:
        """The log of the run from random weights."""
        return self.path / "baseline.log.jsonl"

    def predictions(self, split: str) -> Path:
        """Every prediction on a split, as parquet."""
        return self.path / "predictions" / f"{split}.parquet"

    @property
    def worst(self) -> Path:
        """The worst mistakes on the test split with their pictures, as parquet."""
        return self.path / "predictions" / "worst.parquet"

    @property
    def tracking(self) -> Path:
        """What trackers keep on this machine, a folder each."""
        return self.path / "tracking"

    @property
    def trackers(self) -> Path:
        """The keys of the run's experiments, to go on with them, and where each experiment is."""
        return self.tracking / "trackers.json"

    def load_trackers(self) -> dict[str, dict[str, Any]]:
        """Return what each tracker remembers, `place` among it; nothing of a missing or damaged file."""
        try:
            found = json.loads(self.trackers.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        is_whole = isinstance(found, dict) and all(isinstance(value, dict) for value in found.values())
        return found if is_whole else {}

    def has_run(self) -> bool:
        """Whether a run was started here before."""
        return self.recipe.exists() or any(self.path.glob("checkpoint-*"))

    def claim(self, *, resume: bool, overwrite: bool) -> None:
        """Make sure that a run may be written here: one that is there is never replaced unless asked.

        What is to be replaced stays until `clear`: a recipe that turns out to be wrong must not cost it.

        Raises:
            RunFolderError: Another run is in it, nothing to resume is in it, or it cannot be written.
        """
        if resume and not self.has_run():
            raise RunFolderError(
                "there is no run to resume", where=str(self.path), todo="Leave --resume out to start one."
            )
        if self.has_run() and not resume and not overwrite:
            raise RunFolderError(
                "another run is in this folder",
                where=str(self.path),
                todo="Go on with it by --resume, replace it by --overwrite, "
                "or choose another one by training.output_dir=FOLDER.",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"the run folder cannot be made: {error.strerror}",
                where=str(self.path),
                todo="Choose another one by training.output_dir=FOLDER.",
            ) from None
        if not os.access(self.path, os.W_OK):
            raise RunFolderError(
                "the run folder cannot be written to",
                where=str(self.path),
                todo="Choose another one by training.output_dir=FOLDER.",
            )

    def clear(self) -> None:
        """Delete what a run writes, and nothing else: the folder may hold notes of the user's."""
        written = [self.best, self.baseline, self.tracking, self.path / "predictions"]
        for folder in [*written, *self.path.glob("checkpoint-*")]:
            shutil.rmtree(folder, ignore_errors=True)
        files = [self.recipe, self.environment, self.log, self.baseline_log, self.scores, self.report]
        for file in [*files, self.card, self.curves]:
            file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file without secrets, so that a reader sees the old one or the whole new one."""
    _write(path, hide_secrets(text))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    # a byte that is no text, in a name from the disk, is kept as JSON writes it: \udcff
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    part.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON without secrets, whole or not at all; NaN and infinity become null."""
    text = json.dumps(_finite(hide_in(content)), indent=2, ensure_ascii=False, allow_nan=False)
    _write(path, text + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
