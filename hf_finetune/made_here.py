"""Which files of a run's recipe may run again without asking: those that `run` ran here, as they were then.

What is in a run folder proves nothing, for it may have been downloaded. So `run` remembers, in the user's own
state folder, the hash of every file that it has imported for a run folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["list_strange_imports", "remember_imports"]

logger = logging.getLogger(__name__)


def remember_imports(run_folder: Path, imports: Sequence[str]) -> None:
    """Remember that the user had these files run for this run folder; one line is said when that fails.

    Args:
        run_folder: Where the run goes.
        imports: Of its recipe: absolute paths.
    """
    if not imports:
        return
    content = {"run_folder": str(run_folder.resolve()), "imports": {name: _hash(name) for name in imports}}
    try:
        path = _record_of(run_folder)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        logger.warning(
            "evaluate and predict will ask for --allow-imports: what this run imports cannot be kept (%s); "
            "XDG_STATE_HOME names a folder for it",
            reason,
        )


def list_strange_imports(run_folder: Path, imports: Sequence[str]) -> list[str]:
    """Return the files that no run in this folder has imported on this machine, or that were changed since.

    Args:
        run_folder: Whose recipe names them.
        imports: Absolute paths.
    """
    try:
        path = _record_of(run_folder)
        known = json.loads(path.read_text(encoding="utf-8"))["imports"]
        is_own = path.stat().st_uid == os.geteuid()
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return list(imports)
    is_sound = is_own and isinstance(known, dict)
    return [name for name in imports if not is_sound or not known.get(name) or known[name] != _hash(name)]


def _record_of(run_folder: Path) -> Path:
    given = os.environ.get("XDG_STATE_HOME")
    state = Path(given) if given else Path.home() / ".local" / "state"
    name = hashlib.sha256(os.fsencode(run_folder.resolve())).hexdigest()
    return state / "hf-finetune" / "imports" / f"{name}.json"


def _hash(name: str) -> str | None:
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError:
        return None
