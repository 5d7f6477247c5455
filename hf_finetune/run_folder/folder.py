"""What lies where in the folder of a run, and whether a run may be written there."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_finetune.atomic_io import make_folder, remove, sync, write_bytes
from hf_finetune.errors import RunFolderError
from hf_finetune.recipe import Recipe
from hf_finetune.secrecy import hide_in, hide_secrets

__all__ = ["RunFolder", "output_folder", "write_json", "write_text"]

logger = logging.getLogger(__name__)

CLEARING = ".clearing"
"""While this folder is there, the run beside it is to be gone: `clear` moves into it what is left of one."""
CLEARED = ".cleared-{}"
HIDDEN = (".partial-checkpoint-*", ".replaced-*", ".pushing-*", "*.part")
"""What a crash may leave of a run beside its files; never taken for a part of another run."""


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
        if not isinstance(found, dict) or not all(isinstance(memory, dict) for memory in found.values()):
            return {}
        for memory in found.values():
            for word, path in self._tracking_paths() if "place" in memory else ():
                memory["place"] = str(memory["place"]).replace(word, path)
        return found

    def save_trackers(self, memories: Mapping[str, Mapping[str, Any]]) -> None:
        """Write what `load_trackers` returns; places in this folder are found again when it is moved."""
        content = {name: dict(memory) for name, memory in memories.items()}
        for memory in content.values():
            for word, path in self._tracking_paths() if "place" in memory else ():
                memory["place"] = str(memory["place"]).replace(path, word)
        write_json(self.trackers, content)

    def _tracking_paths(self) -> list[tuple[str, str]]:
        absolute = str(self.tracking.resolve())
        return [("{absolute tracking}", absolute), ("{tracking}", str(self.tracking))]

    def has_run(self) -> bool:
        """Whether a run was started here before; one that is being replaced does not count."""
        if (self.path / CLEARING).is_dir():
            return False
        return self.recipe.exists() or bool(self._list_checkpoints())

    def claim(self, *, resume: bool, overwrite: bool) -> None:
        """Make sure that a run may be written here: one that is there is never replaced unless asked.

        What is to be replaced stays until `clear`: a recipe that turns out to be wrong must not cost it.

        Raises:
            RunFolderError: Another run is in it, nothing to resume is in it, something else is in the way, or
                it cannot be written.
        """
        elsewhere = "choose another folder by training.output_dir=FOLDER."
        if resume and not self.has_run() and not (self.path / CLEARING).is_dir():
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
        if not resume and not overwrite and not (self.path / CLEARING).is_dir():
            foreign = [path.name for path in self._list_written() if not path.name.startswith(".")]
            if foreign:
                raise RunFolderError(
                    f"{', '.join(sorted(foreign))} would be replaced, and no run is in this folder",
                    where=str(self.path),
                    todo=f"Replace what a run writes by --overwrite, or {elsewhere}",
                )
        if resume:
            self._require_kinds()
        try:
            make_folder(self.path)
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

    def tidy(self) -> None:
        """End what a crash interrupted: a run that was to be gone goes, and so does what was half-written."""
        if (self.path / CLEARING).is_dir():
            logger.warning("%s: the run that was to be replaced here is removed first", self.path)
            self.clear()
        left = [*self.path.glob(CLEARED.format("*")), self.best.with_name(f"{self.best.name}.part")]
        for path in [*left, self.path / f".replaced-{self.best.name}"]:
            remove(path)

    def clear(self) -> None:
        """Delete what a run writes, and nothing else: the folder may hold notes of the user's.

        From the first moment on the old run counts as gone: however this is interrupted, no later run goes on
        from what is left of it.
        """
        written, mark = self._list_written(), self.path / CLEARING
        if written:
            mark.mkdir(exist_ok=True)
            sync(self.path)
        for path in written:
            remove(mark / path.name)
            try:
                path.rename(mark / path.name)
            except OSError:  # some layered file systems move no folders
                remove(path)
        if mark.is_dir():
            sync(mark)
            sync(self.path)
            doomed = self.path / CLEARED.format(time.time_ns())
            mark.rename(doomed)  # from here on the folder is free
            sync(self.path)
            remove(doomed)

    def say_resume(self) -> str:
        """Return the command that goes on with this run, wherever its folder lies now."""
        words = ["hf-finetune", "run", str(self.recipe), "--resume"]
        try:
            said = re.search(r"^  output_dir: (.+)$", self.recipe.read_text(encoding="utf-8"), re.MULTILINE)
        except (OSError, ValueError):
            said = None
        if said is None or Path(said[1]).resolve() != self.path.resolve():
            words.append(f"training.output_dir={self.path}")
        return shlex.join(words)

    def say_anew(self) -> str:
        """Return what gets a damaged best model back."""
        how = (
            "from its checkpoint"
            if self._list_checkpoints()
            else "by training again, for no checkpoint is left"
        )
        return f"Write it anew {how}: {self.say_resume()}"

    def _list_written(self) -> list[Path]:
        """Return what there is of all that a run writes."""
        names = [self.best, self.baseline, self.tracking, self.path / "predictions"]
        names += [self.recipe, self.environment, self.log, self.baseline_log, self.scores, self.report]
        names += [self.card, self.curves]
        there = [path for path in names if os.path.lexists(path)]
        parts = {f"{path.name}.part" for path in names}
        hidden = [path for pattern in HIDDEN for path in self.path.glob(pattern)]
        hidden = [path for path in hidden if path.suffix != ".part" or path.name in parts]
        return [*there, *self._list_checkpoints(), *hidden]

    def _list_checkpoints(self) -> list[Path]:
        return [path for path in self.path.glob("checkpoint-*") if path.name[11:].isdecimal()]

    def _require_kinds(self) -> None:
        """Refuse what a run could neither read nor replace.

        Raises:
            RunFolderError: A file lies where a folder goes, a folder where a file goes, or a link.
        """
        for path in (self.best, self.baseline, self.tracking, self.path / "predictions"):
            if os.path.lexists(path) and not path.is_dir():
                raise self._in_the_way(path, "is a file, where a folder of the run goes")
        for path in (self.best, self.baseline):
            if path.is_symlink():
                raise self._in_the_way(path, "is a link, where a folder of the run goes")
        for path in (
            self.recipe,
            self.environment,
            self.log,
            self.scores,
            self.report,
            self.card,
            self.curves,
        ):
            if path.is_dir():
                raise self._in_the_way(path, "is a folder, where a file of the run goes")

    def _in_the_way(self, path: Path, what: str) -> RunFolderError:
        return RunFolderError(
            f"{path.name} {what}", where=str(self.path), todo="Rename or remove it; the run writes it anew."
        )


def output_folder(recipe: Recipe) -> str:
    """Return where the run goes: `training.output_dir`, by default named after the recipe."""
    return str(recipe.training.get("output_dir", f"runs/{recipe.source.stem}"))


def write_text(path: Path, text: str) -> None:
    """Write a file without secrets, so that a reader sees the old one or the whole new one."""
    _write(path, hide_secrets(text))


def _write(path: Path, text: str) -> None:
    # a byte that is no text, in a name from the disk, is kept as JSON writes it: \udcff
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


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
