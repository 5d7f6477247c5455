"""Share the runs of two processes."""

import pytest
from real_runs import command
from real_runs.fixtures import expected, hf_finetune, recipe, unbroken, workshop

__all__ = ["expected", "hf_finetune", "recipe", "unbroken", "workshop"]

# the global batch of the recipe, shared by two
HALVED = "training.per_device_train_batch_size=5"


@pytest.fixture(scope="session")
def two_processes(workshop, recipe):
    """Return the outcome and the run folder of a run on two processes."""
    folder = workshop / "two-processes"
    done = command.run(["run", recipe, HALVED, "--processes", "2"], folder)
    assert done.code == 0, done.err
    return done, folder / "run"
