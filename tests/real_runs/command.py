"""Start the command as a user does, and read what it leaves behind."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from engine_harness.compare import first_difference, read_checkpoint, without_times
from safetensors.torch import load_file

from hf_finetune.engines.checkpoint import list_checkpoints
from real_runs import prefork

ROOT = Path(__file__).parents[2]
INJECT = Path(__file__).parent / "inject"
TIMEOUT_S = 240
ENGINES = ("trainer", "accelerate")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def start(
    words: list[str],
    cwd: Path,
    *,
    fault: dict[str, Any] | None = None,
    launcher: tuple[str, ...] = (),
    **env: str,
) -> prefork.Child | subprocess.Popen[str]:
    """Start `python -m hf_finetune WORDS` in a folder, as the leader of a process group."""
    cwd.mkdir(parents=True, exist_ok=True)
    injected = {"HF_FINETUNE_TEST_FAULT": json.dumps(fault)} if fault else {}
    paths = [str(ROOT), *([str(INJECT)] if fault else [])]
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **injected, **env}
    if not launcher:
        return prefork.start(words, cwd=cwd, env=own)
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "hf_finetune", *words],
        cwd=cwd,
        env=own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(child: prefork.Child | subprocess.Popen[str]) -> Outcome:
    out, err = child.communicate(timeout=TIMEOUT_S)
    return Outcome(child.returncode, out, err)


def run(words: list[str], cwd: Path, **options: Any) -> Outcome:
    """Run the command to its end."""
    return finish(start(words, cwd, **options))


@contextmanager
def logging_like_the_command() -> Iterator[None]:
    """Let the command set up logging as in a process of its own, and forget it afterwards."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    level, own = root.level, logging.getLogger("hf_finetune").level
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)
        logging.getLogger("hf_finetune").setLevel(own)


def read_log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return without_times([json.loads(line) for line in lines])


def read_run(folder: Path) -> dict[str, Any]:
    """Return all that a finished run has left, without what depends on the clock and on the engine's name."""
    checkpoints = {path.name: read_checkpoint(path) for path in list_checkpoints(folder)}
    for content in checkpoints.values():
        stamp = content["recipe_stamp.json"]
        del stamp["recipe"]["engine"]
        stamp["not_default"] = [key for key in stamp["not_default"] if key != "engine"]
    scores = json.loads((folder / "scores.json").read_text())
    baseline = scores.get("baseline") or {"eval": {}, "test": {}}
    for part in (scores["train"], scores["eval"], scores["test"], baseline["eval"], baseline["test"]):
        for name in ("runtime", "runtime_s", "samples_per_second", "steps_per_second"):
            part.pop(name, None)
    predictions = sorted((folder / "predictions").glob("*.parquet"))
    return {
        "checkpoints": checkpoints,
        "best": load_file(folder / "best" / "model.safetensors"),
        "log": read_log(folder),
        "scores": scores,
        "predictions": {path.name: pq.read_table(path).to_pydict() for path in predictions},
        "folders": sorted(path.name for path in folder.iterdir()),
    }


def assert_same_run(expected: dict[str, Any], folder: Path) -> None:
    """Compare by `==`, to the last bit."""
    difference = first_difference(expected, read_run(folder))
    assert difference is None, difference


def list_processes(folder: Path) -> list[int]:
    """Return the processes whose working directory is in a folder (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").resolve().is_relative_to(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
