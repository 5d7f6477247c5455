"""`best/` and its manifest, written last: the hash of every file, the step and the score."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_finetune.atomic_io import MANIFEST, file_facts, read_manifest, verify, write_manifest
from hf_finetune.errors import CheckpointError, RunFolderError

__all__ = ["check_best", "describe_mismatch", "is_sealed", "seal_best"]

logger = logging.getLogger(__name__)


def seal_best(folder: Path, about: Mapping[str, Any]) -> str:
    """Write the manifest of a best model whose files are all there, and flush them all to the disk.

    Args:
        folder: The model and its processor.
        about: What `scores.json` says of it: metric, value, step.

    Returns:
        The manifest's sha256, by which `scores.json` names the model it is of.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    facts = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in about.items()}
    return str(write_manifest(folder, {}, {"version": 1, **facts})["sha256"])


def is_sealed(folder: Path) -> bool:
    """Whether a folder has the manifest of a best model, however much of that is left."""
    return (folder / MANIFEST).is_file()


def check_best(
    best: Path,
    scores: Mapping[str, Any],
    *,
    todo: str,
    may_lack: Callable[[str], bool] = lambda name: False,
    is_alone: bool = True,
) -> None:
    """Check every byte of a best model against its manifest.

    All weights are hashed: about a second for 1 GB, and the disk has to give them anyway. A run of a version
    that wrote no manifest is looked at as far as that goes, with a note.

    Args:
        best: The model and its processor.
        scores: `scores.json` of the run; it names the manifest.
        todo: How to get the model back.
        may_lack: Name of a file -> whether it may be missing.
        is_alone: Whether only the model lies there; what was put beside it is then named.

    Raises:
        RunFolderError: A file is missing, torn or changed.
    """
    try:
        if not is_sealed(best) and _find_manifest(scores) is None:
            logger.warning("%s has no %s: it was made by an earlier version, or elsewhere", best, MANIFEST)
            _look_at(best)
            return
        verify(best, may_lack=may_lack)
    except CheckpointError as error:
        raise RunFolderError(error.what, where=error.where, todo=todo) from error
    if is_alone:
        known = read_manifest(best)["files"]
        names = [path.relative_to(best).as_posix() for path in sorted(best.rglob("*")) if path.is_file()]
        added = [name for name in names if name not in known and name != MANIFEST]
        if added:
            logger.warning("%s: not written by the run: %s", best, ", ".join(added))


def describe_mismatch(best: Path, scores: Mapping[str, Any]) -> str | None:
    """Say that `scores.json` was measured with another model than the one in `best/`; None where it was not.

    A run that goes on after its end and is killed between the two leaves the old scores beside the new model.
    """
    if not is_sealed(best):
        return None
    named, sealed = _find_manifest(scores), read_manifest(best)
    told = scores["best"] if isinstance(scores.get("best"), Mapping) else {}
    # scores of an earlier version name no manifest
    is_other = named is not None and file_facts(best / MANIFEST)["sha256"] != named
    steps = told.get("step"), sealed.get("step")
    if is_other or steps[0] != steps[1]:
        why = f"it was measured at update {steps[0]}, and the model is of update {steps[1]}"
        why = why if steps[0] != steps[1] else "the model has been written again since"
        return f"scores.json is not of the model in {best.name}/: {why}"
    for key in ("metric", "value"):
        if key in sealed and sealed[key] != told.get(key):
            return (
                f"scores.json was changed: its best {key} is {told.get(key)}, "
                f"and the model was kept for {sealed[key]}"
            )
    return None


def _find_manifest(scores: Mapping[str, Any]) -> str | None:
    best = scores.get("best")
    named = best.get("manifest") if isinstance(best, Mapping) else None
    return named if isinstance(named, str) else None


def _look_at(best: Path) -> None:
    """Find what is torn without knowing what was there: JSON that does not parse, weights that end too early.

    Raises:
        CheckpointError: A file is damaged.
    """
    from safetensors import safe_open

    for path in sorted(best.iterdir()):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="numpy"):
                    pass
        except Exception as error:  # every way in which a reader can stumble over damaged bytes
            raise CheckpointError(f"{path.name} is damaged ({error})", where=str(best)) from error
