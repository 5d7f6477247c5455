"""Share the recipe of real runs; no account and no network for any tracker."""

import pytest
from real_runs.fixtures import expected, hf_finetune, recipe, unbroken, workshop

__all__ = ["expected", "hf_finetune", "recipe", "unbroken", "workshop"]


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    for name in ("COMET_API_KEY", "WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COMET_CONFIG", str(tmp_path / "no.comet.config"))
    monkeypatch.setenv("COMET_URL_OVERRIDE", "http://127.0.0.1:9/clientlib/")
