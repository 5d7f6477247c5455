"""No way to the Hub is said at once: whatever is read, however the network is dead, and tried once only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

import hf_finetune

ROOT = Path(hf_finetune.__file__).parents[1]
LIMIT_S = 10.0
"""What the clients need by themselves: 46 s."""

READ = """
import json, sys, time
from hf_finetune import hub_access
from hf_finetune.data.load import load_splits
from hf_finetune.errors import UserError
from hf_finetune.metrics import build_metrics
from hf_finetune.model import build_model
from hf_finetune.recipe import Recipe
from hf_finetune.tasks import build_task
from hf_finetune.tasks.labels import LabelSpace

hub_access.PROBE_LIMIT_S = 1.0
labels = LabelSpace(problem_type="single_label_classification", names=("a", "b"), num_labels=2)
pinned = {"checkpoint": "org/model", "revision": "1" * 40}
recipe = Recipe(
    task="image-classification",
    model=pinned,
    data={"path": "org/set", "revision": "1" * 40},
    metrics=[{"name": "hub", "path": "org/metric", "revision": "1" * 40}],
)
task = build_task(recipe, trust_remote_code=True)
readers = {
    "processor org/model": lambda: task.load_processor(recipe),
    "data set org/set": lambda: load_splits(recipe),
    "model org/model": lambda: build_model(recipe, task, labels),
    "metric org/metric": lambda: build_metrics(recipe.metrics, labels, where=str, trust_remote_code=True),
}
seen = {}
for name, read in readers.items():
    hub_access.is_reachable.cache_clear()
    started = time.monotonic()
    try:
        read()
    except UserError as error:
        seen[name] = (time.monotonic() - started, f"{type(error).__name__} {error}")
print(json.dumps(seen))
"""

SLOW_NAMES = """
import socket, time
def getaddrinfo(*args, **more):
    time.sleep(120)
socket.getaddrinfo = getaddrinfo
"""
"""A resolver whose servers do not answer: connecting has a limit, looking a name up has none."""


class Silent:
    """Takes connections and never answers, as behind a firewall that drops what comes back."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.taken: list[socket.socket] = []
        Thread(target=self._take, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _take(self) -> None:
        try:
            while True:
                self.taken.append(self.listener.accept()[0])
        except OSError:  # closed
            pass

    def close(self) -> None:
        self.listener.close()
        for connection in self.taken:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    with closing(Silent()) as running:
        yield running


@pytest.fixture
def refusing() -> Iterator[str]:
    """A port that nobody listens at, kept from others."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def environment(endpoint: str, home: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    proxies = {name: "" for name in env if name.lower().endswith("_proxy")}
    return {**env, **proxies, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": str(ROOT)}


def read_all(endpoint: str, home: Path, before: str = "") -> dict[str, tuple[float, str]]:
    """Read one of each in a process of its own; return the seconds it took and what was told."""
    done = subprocess.run(
        [sys.executable, "-c", before + READ],
        env=environment(endpoint, home),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert len(seen) == 4
    return {name: (seconds, told) for name, (seconds, told) in seen.items()}


def assert_told_at_once(seen: dict[str, tuple[float, str]], endpoint: str, home: Path) -> None:
    for name, (seconds, told) in seen.items():
        assert seconds < LIMIT_S, name
        assert told.startswith("HubError "), name
        assert f"{endpoint} cannot be reached" in told
        assert name.split()[-1] in told
        assert "HF_HUB_OFFLINE" in told
        assert str(home / "hub") in told


def test_a_hub_that_never_answers_is_tried_once_each(silent: Silent, tmp_path: Path) -> None:
    assert_told_at_once(read_all(silent.url, tmp_path), silent.url, tmp_path)
    assert len(silent.taken) == 4


def test_a_hub_that_refuses(refusing: str, tmp_path: Path) -> None:
    assert_told_at_once(read_all(refusing, tmp_path), refusing, tmp_path)


def test_names_that_cannot_be_looked_up(tmp_path: Path) -> None:
    url = "http://hub.invalid"
    assert_told_at_once(read_all(url, tmp_path, before=SLOW_NAMES), url, tmp_path)


def test_a_recipe_of_the_hub_says_so_at_once(silent: Silent, tmp_path: Path) -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "hf_finetune", "check", str(ROOT / "recipes" / "deit_cifar.yaml")],
        env=environment(silent.url, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    seconds = time.monotonic() - started
    assert done.returncode == 2, done.stderr
    assert "cannot be reached" in done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(silent.taken) == 1  # for all that the recipe names
    assert seconds < 3 * LIMIT_S  # imports included, on a busy machine; by itself 9 s
