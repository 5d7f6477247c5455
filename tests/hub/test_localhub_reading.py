"""Unmodified clients read models, data sets and snapshots."""

from __future__ import annotations

import http.client

import pytest
from localhub import Fault
from published import save_cifar_shaped, save_small_deit

MODEL_COMMIT, DATA_COMMIT = "1" * 40, "2" * 40


def test_transformers_and_datasets_load_pinned_revisions(hub, client, tmp_path):
    hub.add_folder("model", "org/deit", save_small_deit(tmp_path / "deit"), revision=MODEL_COMMIT)
    hub.add_folder("dataset", "org/cifar", save_cifar_shaped(tmp_path / "cifar"), revision=DATA_COMMIT)
    seen = client(
        """
        from datasets import load_dataset
        from transformers import AutoImageProcessor, AutoModelForImageClassification
        model = AutoModelForImageClassification.from_pretrained("org/deit", revision=model_commit)
        processor = AutoImageProcessor.from_pretrained("org/deit", revision=model_commit)
        data = load_dataset("org/cifar", revision=data_commit)
        seen["hidden"] = model.config.hidden_size
        seen["size"] = processor.size["height"]
        seen["rows"] = {name: len(split) for name, split in data.items()}
        seen["names"] = data["train"].features["label"].names[:2]
        seen["pixels"] = data["test"][0]["img"].size
        """,
        model_commit=MODEL_COMMIT,
        data_commit=DATA_COMMIT,
    )
    assert seen == {
        "hidden": 32,
        "size": 32,
        "rows": {"train": 120, "test": 40},
        "names": ["airplane", "automobile"],
        "pixels": [32, 32],
    }
    assert any(MODEL_COMMIT in exchange.target for exchange in hub.log)
    assert any(DATA_COMMIT in exchange.target for exchange in hub.log)
    assert all(exchange.status < 500 for exchange in hub.log)


def test_a_snapshot_is_fetched_once_and_without_the_token_on_the_other_origin(hub, client, tmp_path):
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "note.txt").write_text("hello")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    member = hub.add_account("alice")
    hub.add_folder("model", "alice/files", folder, private=True)
    code = """
        from pathlib import Path
        from huggingface_hub import snapshot_download
        root = Path(snapshot_download("alice/files"))
        seen["note"] = (root / "sub/note.txt").read_text()
        seen["size"] = (root / "weights.bin").stat().st_size
        """
    assert client(code, account=member) == {"note": "hello", "size": 256_000}
    bodies = [exchange for exchange in hub.log if exchange.method == "GET" and "/cdn/" in exchange.target]
    assert len(bodies) == 1
    assert not bodies[0].is_authorized

    hub.log.clear()
    assert client(code, account=member) == {"note": "hello", "size": 256_000}
    assert not [exchange for exchange in hub.log if "/cdn/" in exchange.target]


def test_what_is_not_there_is_told_apart(hub, client, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    hub.add_folder("model", "org/files", tmp_path / "files")
    seen = client(
        """
        from huggingface_hub import hf_hub_download, HfApi
        for repo, name, revision in (
            ("org/nothing", "a.txt", None), ("org/files", "b.txt", None), ("org/files", "a.txt", "f" * 40),
        ):
            try:
                hf_hub_download(repo, name, revision=revision)
            except Exception as error:
                seen[f"{repo} {name} {revision and 'pinned'}"] = type(error).__name__
        seen["found"] = [model.id for model in HfApi().list_models(search="FILE")]
        """
    )
    assert seen == {
        "org/nothing a.txt None": "RepositoryNotFoundError",
        "org/files b.txt None": "RemoteEntryNotFoundError",
        "org/files a.txt pinned": "RevisionNotFoundError",
        "found": ["org/files"],
    }


def test_private_and_gated_repositories_let_the_right_people_in(hub, client, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("a")
    owner, reader, other = hub.add_account("owner"), hub.add_account("reader"), hub.add_account("other")
    hub.add_folder("model", "owner/private", tmp_path / "files", private=True)
    hub.add_folder("dataset", "owner/gated", tmp_path / "files", gated=True).readers.add("reader")
    code = """
        from huggingface_hub import hf_hub_download
        for repo, kind in (("owner/private", "model"), ("owner/gated", "dataset")):
            try:
                hf_hub_download(repo, "a.txt", repo_type=kind)
                seen[kind] = "read"
            except Exception as error:
                seen[kind] = f"{type(error).__name__} {error.response.status_code}"
        """
    people = {"owner": owner, "reader": reader, "other": other, "nobody": None}
    seen = {name: client(code, account=account, home=name) for name, account in people.items()}
    assert seen == {
        "owner": {"model": "read", "dataset": "read"},
        "reader": {"model": "RepositoryNotFoundError 404", "dataset": "read"},
        "other": {"model": "RepositoryNotFoundError 404", "dataset": "GatedRepoError 403"},
        "nobody": {"model": "RepositoryNotFoundError 401", "dataset": "GatedRepoError 401"},
    }


def test_a_cut_download_is_noticed_and_fetched_again(hub, client, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights.bin").write_bytes(bytes(range(256)) * 20_000)
    hub.add_folder("model", "org/files", tmp_path / "files")
    hub.fail(Fault(path="/cdn/", method="GET", truncate=1_000_000))
    seen = client(
        """
        import hashlib
        from pathlib import Path
        from huggingface_hub import hf_hub_download
        path = Path(hf_hub_download("org/files", "weights.bin"))
        seen["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        """
    )
    assert hub.store.blob(seen["sha256"]).exists()
    bodies = [exchange for exchange in hub.log if exchange.method == "GET" and "/cdn/" in exchange.target]
    assert [exchange.status for exchange in bodies] == [200, 200]


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_byte_ranges(hub, tmp_path, asked, status, body):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("0123456789")
    hub.add_folder("model", "org/files", tmp_path / "files")
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"))
    connection.request("GET", "/org/files/resolve/main/a.txt", headers={"Range": asked})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == status
    assert body is None or content == body


def test_trees_come_in_pages(hub, client, tmp_path):
    for number in range(7):
        path = tmp_path / "files" / f"part{number % 2}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    hub.page_size = 3
    hub.add_folder("dataset", "org/files", tmp_path / "files")
    seen = client(
        """
        from huggingface_hub import HfApi
        api = HfApi()
        entries = list(api.list_repo_tree("org/files", repo_type="dataset", recursive=True))
        seen["names"] = sorted(entry.path for entry in entries)
        seen["below"] = [e.path for e in api.list_repo_tree("org/files", "part1", repo_type="dataset")]
        paths = ["part0", "part0/0.txt", "none"]
        seen["asked"] = [e.path for e in api.get_paths_info("org/files", paths, repo_type="dataset")]
        """
    )
    files = [f"part{number % 2}/{number}.txt" for number in range(7)]
    assert seen["names"] == sorted(["part0", "part1", *files])
    assert seen["below"] == ["part1/1.txt", "part1/3.txt", "part1/5.txt"]
    assert seen["asked"] == ["part0", "part0/0.txt"]
