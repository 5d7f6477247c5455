"""What every test has: one thread, no network, no foreign caches, the same random numbers."""

from __future__ import annotations

import gc
import os
import random
import shutil
import tempfile

# before any library reads them
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# what runs remember of their imports; the processes that tests start share it
os.environ["XDG_STATE_HOME"] = os.path.join(tempfile.gettempdir(), f"hf-finetune-tests-{os.getuid()}")

import numpy as np
import pytest
import torch


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slower kinds out unless they are asked for by -m."""
    if config.getoption("-m"):
        return
    slower = {"slow", "bench", "gpu", "soak", "weights"}
    left_out = [item for item in items if slower & {mark.name for mark in item.iter_markers()}]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Take what is imported by now out of garbage collection, which Trainer asks for in every run."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the length of the long kill-and-resume run."""
    parser.addoption("--soak-rounds", type=int, default=50, help="kills of the soak test")


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Let every test draw the same numbers each time, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def espeak() -> str:
    """Return where espeak-ng is, which makes the speech that is not shipped."""
    program = shutil.which("espeak-ng")
    if program is None:
        # where .ci/run has installed it, a test that does not run is a test that fails
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "needs espeak-ng (Debian: apt install espeak-ng)"
        )
    return program
