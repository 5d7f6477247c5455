"""What the tests on a GPU need: one, and kernels that can be repeated."""

from __future__ import annotations

import os
from collections.abc import Iterator

# read when CUDA starts in a process; full_determinism of a run sets it, too
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")

import pytest
import torch


@pytest.fixture(autouse=True)
def deterministic_kernels(same_draws: None) -> Iterator[None]:
    """Ask for them no longer after a test: full_determinism does so for the whole process."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use")
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.cuda.empty_cache()
