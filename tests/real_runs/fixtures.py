"""What the tests of real runs share: one model, one data set, one cache, one run that nothing interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_finetune import cli
from real_runs import command
from real_runs.digits import make_folder


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `recipe.yaml` and what it needs; made once for all folders of tests."""
    folder = tmp_path_factory.getbasetemp() / "workshop"
    if not folder.exists():
        make_folder(folder)
    return folder


@pytest.fixture(scope="session")
def recipe(workshop: Path) -> str:
    return str(workshop / "recipe.yaml")


@pytest.fixture(scope="session")
def unbroken(workshop: Path, recipe: str) -> Path:
    """Return the run folder of a real run that was not interrupted; `trace` lists its file operations."""
    folder = workshop / "unbroken"
    if not folder.exists():
        trace = {"kind": "none", "match": "run/", "removals": True, "trace": str(workshop / "trace")}
        done = command.run(["run", recipe], folder, fault=trace)
        assert done.code == 0, done.err
    return folder / "run"


@pytest.fixture(scope="session")
def expected(unbroken: Path) -> dict[str, Any]:
    return command.read_run(unbroken)


@pytest.fixture
def hf_finetune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., command.Outcome]:
    """Run the command in this process, in `tmp_path`: as real but for the five seconds of imports."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> command.Outcome:
        handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
        monkeypatch.setattr("sys.argv", ["hf-finetune", *words])
        with command.logging_like_the_command(), pytest.raises(SystemExit) as done:
            cli.main()
        assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers
        return command.Outcome(int(done.value.code or 0), *capfd.readouterr())

    return run
