"""Where the libraries keep caches on a machine whose home cannot be written: elsewhere, and said so."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

__all__ = ["use_writable_caches"]

logger = logging.getLogger(__name__)

FOLDERS = {
    "HF_DATASETS_CACHE": "datasets",
    "HF_EVALUATE_CACHE": "evaluate",
    "HF_HUB_CACHE": "hub",
    "HF_METRICS_CACHE": "metrics",
    "HF_MODULES_CACHE": "modules",
}
"""Variables of huggingface_hub, datasets, transformers and evaluate, with their folders in HF_HOME."""


def use_writable_caches() -> None:
    """Name folders that can be written in the variables the libraries read; call it before they are imported.

    A cache of the Hub that is there is kept, also read-only: it may have been filled for offline use.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")).expanduser()
    can_write_home = _can_write(home)
    moved = []
    for variable, name in FOLDERS.items():
        given = os.environ.get(variable)
        folder = Path(given).expanduser() if given else home / name
        is_kept = variable == "HF_HUB_CACHE" and folder.is_dir()
        is_fine = _can_write(folder) if given or folder.exists() else can_write_home
        if not is_fine and not is_kept:
            moved.append((variable, name, folder))
    if not moved:
        return
    other = _make_temporary()
    for variable, name, _ in moved:
        os.environ[variable] = str(other / name)
    if not can_write_home and not home.is_dir():
        os.environ["HF_HOME"] = str(other)
    if os.environ.get("RANK", "0") == "0":
        folders = ", ".join(dict.fromkeys(str(home if home in (f, *f.parents) else f) for _, _, f in moved))
        logger.warning("%s cannot be written: caches go to %s; HF_HOME names another folder", folders, other)


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return folder.is_absolute() and os.access(folder, os.W_OK | os.X_OK)


def _make_temporary() -> Path:
    """Return the same folder each time, so that caches are found again; none that another user has made."""
    folder = Path(tempfile.gettempdir()) / f"hf-finetune-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if folder.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o022:
            raise PermissionError
    except OSError:
        return Path(tempfile.mkdtemp(prefix="hf-finetune-"))
    return folder
