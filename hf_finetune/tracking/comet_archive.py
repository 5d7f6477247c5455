"""Read Comet's offline archives: what of a run is in them already."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["find_last_step", "list_whole", "read_messages"]

MESSAGES = "messages.json"


def list_whole(folder: Path) -> list[Path]:
    """Return the archives that were finished; a process that was killed leaves an empty one."""
    return [path for path in sorted(folder.glob("*.zip")) if _is_whole(path)]


def find_last_step(folder: Path) -> int:
    """Return the last update of which something is in the archives, -1 when there is none.

    Archives that were not finished are deleted: nothing is in them, and an upload would stumble over them.
    """
    whole = list_whole(folder)
    for path in folder.glob("*.zip"):
        if path not in whole:
            path.unlink()
    steps = [
        message["metric"].get("step")
        for path in whole
        for kind, message in read_messages(path)
        if kind == "metric_msg" and message["metric"]["metricName"].startswith("train/")
    ]
    return max((int(step) for step in steps if step is not None), default=-1)


def read_messages(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the kind and the content of each message of an archive, in order.

    Source: comet_ml 3.58, `OfflineSender._send_messages`.
    """
    with zipfile.ZipFile(path) as archive, archive.open(MESSAGES) as lines:
        for line in lines:
            message = json.loads(line)
            yield message["type"], message["payload"]


def _is_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return MESSAGES in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
