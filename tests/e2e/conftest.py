"""Share the run that nothing interrupted."""

import shutil
from pathlib import Path

import pytest
from real_runs.fixtures import expected, hf_finetune, recipe, unbroken, workshop

__all__ = ["expected", "hf_finetune", "recipe", "unbroken", "workshop"]


@pytest.fixture
def run_folder(unbroken: Path, tmp_path: Path) -> Path:
    """Return a copy of a finished run, in the working directory as `run`."""
    shutil.copytree(unbroken, tmp_path / "run")
    return tmp_path / "run"
