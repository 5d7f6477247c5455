"""Unmodified clients create repositories and push to them."""

from __future__ import annotations

import pytest
from localhub import Fault


def _make_folder(folder):
    (folder / "sub").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [small]\n---\n# Hello\n")
    (folder / "sub" / "note.txt").write_text("hello")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 3000)
    return folder


PUSH = """
    from huggingface_hub import HfApi
    api = HfApi()
    url = api.create_repo("alice/model", private=True, exist_ok=True)
    commit = api.upload_folder(repo_id="alice/model", folder_path=folder, commit_message="Push")
    seen.update(url=str(url), oid=commit.oid, title=api.list_repo_commits("alice/model")[0].title)
    info = api.model_info("alice/model", files_metadata=True)
    seen.update(tags=info.tags, private=info.private)
    seen["sizes"] = {file.rfilename: file.size for file in info.siblings}
    """


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_folder_is_pushed(hub, client, tmp_path, in_parts):
    if in_parts:
        hub.multipart_over, hub.part_size = 100_000, 300_000
    folder = _make_folder(tmp_path / "folder")
    seen = client(PUSH, account=hub.add_account("alice"), folder=folder)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*.*")}
    assert seen["sizes"].items() >= sizes.items()
    assert (seen["title"], seen["private"], seen["tags"]) == ("Push", True, ["small"])
    assert seen["url"] == f"{hub.url}/alice/model"
    repo = hub.store.repos["model", "alice/model"]
    entry = repo.find("main").files["model.safetensors"]
    assert entry.is_lfs
    assert hub.store.read(entry) == (folder / "model.safetensors").read_bytes()
    assert sum("/lfs/part/" in exchange.target for exchange in hub.log) == (3 if in_parts else 0)


def test_the_same_files_again_make_no_commit(hub, client, tmp_path):
    alice, folder = hub.add_account("alice"), _make_folder(tmp_path / "folder")
    first = client(PUSH, account=alice, folder=folder)
    hub.log.clear()
    assert client(PUSH, account=alice, folder=folder)["oid"] == first["oid"]
    assert not [exchange for exchange in hub.log if "/lfs/put/" in exchange.target]


def test_only_a_write_token_of_a_member_may_push(hub, client, tmp_path):
    hub.add_folder("model", "acme/model", _make_folder(tmp_path / "folder"))
    people = {
        "member": hub.add_account("member", orgs=["acme"]),
        "reader": hub.add_account("reader", orgs=["acme"], role="read"),
        "other": hub.add_account("other"),
        "nobody": None,
    }
    code = """
        from huggingface_hub import HfApi
        try:
            HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="acme/model")
            seen["status"] = 200
        except Exception as error:
            seen["status"] = error.response.status_code
        """
    statuses = {name: client(code, account=account)["status"] for name, account in people.items()}
    assert statuses == {"member": 200, "reader": 403, "other": 403, "nobody": 401}


def test_a_commit_on_an_old_parent_is_refused(hub, client, tmp_path):
    seen = client(
        """
        from huggingface_hub import HfApi, CommitOperationAdd, CommitOperationDelete
        api = HfApi()
        api.create_repo("alice/data", repo_type="dataset")
        def commit(operation, **options):
            return api.create_commit(
                "alice/data", [operation], commit_message="change", repo_type="dataset", **options
            )
        def add(name, **options):
            return commit(CommitOperationAdd(path_in_repo=name, path_or_fileobj=b"x"), **options)
        first = add("a.txt").oid
        add("b.txt", parent_commit=first)
        try:
            add("c.txt", parent_commit=first)
        except Exception as error:
            seen["status"] = error.response.status_code
        commit(CommitOperationDelete("a.txt"))
        pull = add("e.txt", create_pr=True)
        api.create_tag("alice/data", tag="v1", repo_type="dataset")
        api.create_branch("alice/data", branch="next", repo_type="dataset")
        refs = api.list_repo_refs("alice/data", repo_type="dataset", include_pull_requests=True)
        seen["refs"] = [ref.ref for ref in refs.branches + refs.tags + refs.pull_requests]
        seen["files"] = api.list_repo_files("alice/data", repo_type="dataset")
        seen["pull"] = pull.pr_url
        api.delete_repo("alice/data", repo_type="dataset")
        seen["exists"] = api.repo_exists("alice/data", repo_type="dataset")
        """,
        account=hub.add_account("alice"),
    )
    assert seen["status"] == 412
    assert seen["files"] == [".gitattributes", "b.txt"]
    assert seen["refs"] == ["refs/heads/main", "refs/heads/next", "refs/tags/v1", "refs/pr/1"]
    assert seen["pull"].endswith("/datasets/alice/data/discussions/1")
    assert not seen["exists"]


def test_faults_strike_as_often_as_asked(hub, client, tmp_path):
    hub.fail(Fault(path="/api/models", method="GET", status=503, headers={"Retry-After": "0"}))
    code = """
        from huggingface_hub import HfApi
        try:
            seen["user"] = HfApi().model_info("org/model").id
        except Exception as error:
            seen["status"] = error.response.status_code
        """
    hub.add_folder("model", "org/model", _make_folder(tmp_path / "folder"))
    assert client(code) == {"status": 503}
    assert client(code) == {"user": "org/model"}
