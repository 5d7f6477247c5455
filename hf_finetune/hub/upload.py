"""One commit of many files, its tag, and the comparison of what came out."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hf_finetune.errors import HubError
from hf_finetune.hub.patience import find_status, patiently
from hf_finetune.hub.wording import explaining_push

__all__ = ["Pushed", "Upload", "push_files"]

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
FETCHED_UP_TO = 10 << 20
"""Bytes up to which a file is fetched again; of a larger one, size and SHA-256 that
the Hub states are compared.

That, too, is reading back: the Hub computes the hash of what has reached its storage, and takes no commit
whose hash it has no bytes for (LFS verifies them, Xet puts the file together). To fetch gigabytes that were
just sent would take as long as sending them, and show no more.
"""

MODEL_FILES = (
    *("*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "adapter_*"),
    *("manifest.json", "scores.json", "report.html"),
)
"""What another model left at the top of a repository: it would be loaded instead or beside, or says of this
model what was measured with that one.
"""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What a commit is to hold.

    Args:
        repo_id: `owner/name`.
        branch: Made when it is not there.
        private: Whether a new repository is private.
        files: Path in the repository -> file here. Model files at its top that are not among them go, when
            these have model files there; all else stays.
        title: First line of the commit message.
        description: The rest.
        tag: For the commit; None for no tag.
        finish: What finishes a push that failed, as an imperative sentence.
    """

    repo_id: str
    branch: str = "main"
    private: bool = True
    files: Mapping[str, Path] = field(default_factory=dict)
    title: str
    description: str = ""
    tag: str | None = None
    finish: str = "Then push again."


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """A push that was read back.

    Args:
        url: Page of the commit.
        commit: Its hash, 40 hex digits.
        tag: Of the commit, as it was made; None for none.
    """

    url: str
    commit: str
    tag: str | None


def push_files(upload: Upload) -> Pushed:
    """Commit all files at once, compare what the Hub has then with what is here, and tag the commit.

    The branch shows the commit before or the whole new one, never something between. What was sent by a push
    that failed is not sent again.

    Raises:
        HubError: The Hub or the network failed for longer than patience lasts, or has other bytes now.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with explaining_push(upload.repo_id, finish=upload.finish):
        patiently(
            lambda: api.create_repo(upload.repo_id, private=upload.private, exist_ok=True),
            what=f"creating {upload.repo_id}",
        )
        if upload.branch != "main":
            patiently(
                lambda: api.create_branch(upload.repo_id, branch=upload.branch, exist_ok=True),
                what=f"making the branch {upload.branch}",
            )
        commit = patiently(lambda: _commit(api, upload), what=f"pushing to {upload.repo_id}")
    with explaining_push(upload.repo_id, finish=upload.finish):
        _read_back(api, upload, commit)
        tag = patiently(lambda: _tag(api, upload, commit), what="tagging") if upload.tag else None
    return Pushed(url=f"{api.endpoint}/{upload.repo_id}/commit/{commit}", commit=commit, tag=tag)


def _commit(api: Any, upload: Upload) -> str:
    """Make the commit on what the branch is now; return its hash, or the old one when nothing is new."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    head = api.repo_info(upload.repo_id, revision=upload.branch).sha
    there = [file.path for file in _list_files(api, upload.repo_id, head)]
    # made anew for each attempt: the client marks those that it has committed
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path))
        for name, path in sorted(upload.files.items())
    ]
    if any(_is_model_file(name) for name in upload.files):
        gone = [name for name in there if _is_model_file(name) and name not in upload.files]
        operations += [CommitOperationDelete(path_in_repo=name) for name in gone]
    made = api.create_commit(
        upload.repo_id,
        operations,
        commit_message=upload.title,
        commit_description=upload.description,
        revision=upload.branch,
        parent_commit=head,
    )
    return str(made.oid)


def _is_model_file(name: str) -> bool:
    return "/" not in name and any(fnmatch(name, pattern) for pattern in MODEL_FILES)


def _list_files(api: Any, repo_id: str, revision: str) -> list[Any]:
    listed = api.list_repo_tree(repo_id, recursive=True, revision=revision)
    return [file for file in listed if hasattr(file, "blob_id")]


def _read_back(api: Any, upload: Upload, commit: str) -> None:
    """Compare every file of the commit with the one here: size and hash, and small ones byte by byte."""
    listed = patiently(lambda: _list_files(api, upload.repo_id, commit), what="reading back")
    there = {file.path: file for file in listed}
    wrong = [name for name, path in upload.files.items() if not _is_same(there.get(name), path)]
    with tempfile.TemporaryDirectory(prefix="hf-finetune-") as folder:
        for name, path in upload.files.items():
            if name not in wrong and path.stat().st_size <= FETCHED_UP_TO:
                fetched = patiently(
                    lambda name=name: _fetch(api, upload.repo_id, name, commit, folder),  # type: ignore[misc]
                    what=f"reading back {name}",
                )
                if fetched.read_bytes() != path.read_bytes():
                    wrong.append(name)
    if wrong:
        raise HubError(
            f"commit {commit} of {upload.repo_id} is not what was sent: {', '.join(wrong)}",
            todo=upload.finish,
        )


def _fetch(api: Any, repo_id: str, name: str, commit: str, folder: str) -> Path:
    return Path(api.hf_hub_download(repo_id, name, revision=commit, cache_dir=folder))


def _is_same(file: Any, path: Path) -> bool:
    if file is None or file.size != path.stat().st_size:
        return False
    if file.lfs is not None:
        return bool(file.lfs.sha256 == _hash(path, hashlib.sha256()))
    # git's name of a blob
    return bool(file.blob_id == _hash(path, hashlib.sha1(f"blob {file.size}\0".encode())))


def _hash(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return str(digest.hexdigest())


def _tag(api: Any, upload: Upload, commit: str) -> str:
    """Tag the commit; a tag of that name on another commit stays, and ours gets the commit's first digits."""
    tag = str(upload.tag)
    taken = {ref.name: ref.target_commit for ref in api.list_repo_refs(upload.repo_id).tags}
    if taken.get(tag, commit) != commit:
        tag = f"{tag}-{commit[:7]}"
    if tag not in taken:
        try:
            api.create_tag(upload.repo_id, tag=tag, revision=commit)
        except Exception as error:
            if find_status(error) != 409:  # made by an attempt whose answer got lost
                raise
    return tag
