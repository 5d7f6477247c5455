"""What the tests on a GPU need: one, kernels that can be repeated, and the run that nothing interrupted."""

from __future__ import annotations

import os
from collections.abc import Iterator

# read when CUDA starts in a process; full_determinism of a run sets it, too
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu(same_draws: None) -> Iterator[torch.device]:
    """Return the GPU; afterwards, deterministic kernels are no longer asked for."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use")
    yield torch.device("cuda")
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.cuda.empty_cache()
