"""A hub for every test, and client processes that know no other."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from localhub import Account, LocalHub
from real_runs import prefork

Client = Callable[..., Any]
ROOT = Path(__file__).parents[2]


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
    return _make_client(hub, tmp_path)


@pytest.fixture
def make_client(tmp_path: Path) -> Any:
    """Return `client` of a hub that the test makes itself."""

    def make(hub: LocalHub) -> Client:
        return _make_client(hub, tmp_path)

    make.root = ROOT  # type: ignore[attr-defined]
    return make


def _make_client(hub: LocalHub, tmp_path: Path) -> Client:
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
        words = [json.dumps(given, default=str)]
        env = hub.environment(tmp_path / home, account)
        done = prefork.run(words, code=program, cwd=tmp_path, env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture
def command(hub: LocalHub, tmp_path: Path) -> Any:
    """Run `hf-finetune` with words, as alice or somebody else, knowing no hub but this one."""
    alice = hub.add_account("alice", orgs=["acme"])

    def run(*words: str, account: Account | None = alice, **changed: str) -> subprocess.CompletedProcess[str]:
        env = hub.environment(tmp_path / "home", account) | {"PYTHONPATH": str(ROOT), **changed}
        return prefork.run(list(words), cwd=tmp_path, env=env)

    run.alice = alice  # type: ignore[attr-defined]
    return run


@pytest.fixture
def run(hub: LocalHub, tmp_path: Path):
    """Run `hf-finetune` with words, knowing no hub but this one."""

    def start(*words: str, **changed: str) -> subprocess.CompletedProcess[str]:
        env = hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)} | changed
        return prefork.run(list(words), cwd=tmp_path, env=env)

    return start
