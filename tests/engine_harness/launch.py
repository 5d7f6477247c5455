"""Start the two processes in which cells are compared, and read what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def compare_on_two_processes(
    names: list[str], root: Path, *, minutes: float
) -> list[dict[str, dict[str, list[str]]]]:
    """Return, for each process, what differs: cell -> comparison -> differences.

    Args:
        names: Of cells; one process group runs them all, because starting costs more than a cell.
        root: Where the runs go.
        minutes: Longer is a failure.
    """
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*launcher, "-m", "engine_harness.worker", str(root), *names],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
    )
    results = root / "results.json"
    if not results.exists():
        raise AssertionError(f"the processes ended with {done.returncode}:\n{done.stderr[-6000:]}")
    found: list[dict[str, dict[str, list[str]]]] = json.loads(results.read_text())
    return found
