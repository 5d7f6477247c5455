"""A hub for every test, and client processes that know no other."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from localhub import Account, LocalHub

Client = Callable[..., Any]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """An empty hub on 127.0.0.1."""
    with LocalHub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def client(hub: LocalHub, tmp_path: Path) -> Client:
    """Run Python code in a process of its own, for the libraries read HF_ENDPOINT when they are imported.

    The code finds what the test passes by name, and puts what the test wants to see, as JSON-able values, in
    `seen`. Calls with the same `home` share their caches.
    """

    def run(code: str, *, account: Account | None = None, home: str = "home", **given: Any) -> Any:
        program = "\n".join(
            [
                "import json, sys",
                "given, seen = json.loads(sys.argv[1]), {}",
                "globals().update(given)",
                textwrap.dedent(code),
                "print(json.dumps(seen))",
            ]
        )
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(given, default=str)],
            env=hub.environment(tmp_path / home, account),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
