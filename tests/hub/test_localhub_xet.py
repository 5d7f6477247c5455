"""Large files by Xet: the unmodified client uploads chunks, and gets the same bytes back."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from localhub import LocalHub

ROUND = """
    import hashlib, os
    from huggingface_hub import HfApi, hf_hub_download
    api = HfApi()
    api.create_repo("alice/model", exist_ok=True)
    api.upload_folder(repo_id="alice/model", folder_path=folder, commit_message="Push")
    path = hf_hub_download("alice/model", "model.safetensors")
    seen["sha256"] = hashlib.sha256(open(path, "rb").read()).hexdigest()
    """


@pytest.fixture
def hub(tmp_path):
    with LocalHub(tmp_path / "hub", has_xet=True) as running:
        yield running


@pytest.mark.parametrize("kind", ["noise", "floats", "zeros"])
def test_a_large_file_goes_and_comes_by_xet(hub, client, tmp_path, kind):
    """Noise is stored as it is, floats are packed byte by byte of a word, zeros are packed well."""
    rng = np.random.default_rng(0)
    content = {
        "noise": rng.bytes(3_000_000),
        "floats": rng.normal(size=500_000).astype(np.float32).tobytes(),
        "zeros": bytes(1_000_001),
    }[kind]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert client(ROUND, account=hub.add_account("alice"), folder=folder)["sha256"] == sha256
    entry = hub.store.repos["model", "alice/model"].find("main").files["model.safetensors"]
    assert entry.sha256 == sha256
    assert hub.store.read(entry) == content
    targets = [exchange.target for exchange in hub.log]
    assert any("/xet/v1/xorbs/" in target for target in targets)
    assert any("/xet/v1/reconstructions/" in target for target in targets)
    assert not any("/lfs/put/" in target or "/cdn/" in target for target in targets)
