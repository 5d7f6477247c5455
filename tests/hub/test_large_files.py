"""A file of 12 MB is pushed whole, in parts and as chunks, read back, and not sent again by the next push."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from localhub import LocalHub

PUSH = """
    import sys
    sys.path.insert(0, root)
    from pathlib import Path
    from hf_finetune.hub import Upload, push_files
    files = {"model.safetensors": Path(file)}
    pushed = push_files(Upload(repo_id="alice/model", files=files, title="Large", tag="v1"))
    seen.update(commit=pushed.commit, tag=pushed.tag)
    """


@pytest.mark.parametrize("way", ["whole", "parts", "xet"])
def test_a_large_file(tmp_path, make_client, way):
    parts = {"multipart_over": 5 << 20} if way == "parts" else {}
    content = secrets.token_bytes(12 << 20)
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with LocalHub(tmp_path / "hub", has_xet=way == "xet", **parts) as hub:
        client, alice = make_client(hub), hub.add_account("alice")
        first = client(PUSH, account=alice, file=file, root=str(make_client.root))
        entry = hub.store.repos["model", "alice/model"].find("v1").files["model.safetensors"]
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
        sent = {"whole": "/lfs/put/", "parts": "/lfs/part/", "xet": "/xet/v1/xorbs/"}[way]
        assert any(sent in exchange.target for exchange in hub.log)
        hub.log.clear()
        assert client(PUSH, account=alice, file=file, root=str(make_client.root)) == first
        assert not [exchange for exchange in hub.log if "/lfs/p" in exchange.target]
