"""Repositories: commits are snapshots {path: file}, contents lie in one folder under their sha256."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from localhub.wire import HubHTTPError

Kind = Literal["model", "dataset", "space"]

LFS_PATTERNS = ["*.arrow", "*.bin", "*.gz", "*.npz", "*.onnx", "*.parquet", "*.pt", "*.safetensors", "*.zip"]
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS)


def now() -> str:
    """Return the time as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def git_oid(data: bytes, kind: str = "blob") -> str:
    """Return the id git gives an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of a commit.

    Args:
        oid: Git's id: of the content, or of the pointer when the content is a large file.
        sha256: Of the content; its name in the blob folder.
        size: Bytes.
        pointer_size: Bytes of the pointer file; None for a regular file.
    """

    oid: str
    sha256: str
    size: int
    pointer_size: int | None = None

    @property
    def is_lfs(self) -> bool:
        return self.pointer_size is not None

    @property
    def etag(self) -> str:
        """What the client compares and names its cached blob by."""
        return self.sha256 if self.is_lfs else self.oid


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A snapshot of all files."""

    oid: str
    files: Mapping[str, FileEntry]
    title: str
    message: str = ""
    parent: str | None = None
    author: str = "system"
    date: str = field(default_factory=now)


@dataclass(kw_only=True)
class Repo:
    """A repository. `readers` are the accounts a gated repository has let in."""

    kind: Kind
    id: str
    private: bool = False
    gated: bool = False
    readers: set[str] = field(default_factory=set)
    created: str = field(default_factory=now)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    pull_requests: dict[int, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.partition("/")[0]

    @property
    def url_path(self) -> str:
        """The repository's page: models have no prefix."""
        return f"/{self.id}" if self.kind == "model" else f"/{self.kind}s/{self.id}"

    def find(self, revision: str) -> Commit:
        """Return the commit a branch, a tag or (the beginning of) a hash names."""
        name = revision.removeprefix("refs/heads/")
        oid = self.branches.get(revision) or self.branches.get(name) or self.tags.get(revision)
        if oid is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            oid = next((known for known in self.commits if known.startswith(revision)), None)
        if oid is None:
            raise HubHTTPError(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """Return a commit and its ancestors, newest first."""
        commits = [self.find(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits


class Store:
    """All repositories and the contents of their files.

    Args:
        root: Folder for the blobs.
    """

    def __init__(self, root: Path) -> None:
        self.blobs = root / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.repos: dict[tuple[Kind, str], Repo] = {}
        self.lock = threading.RLock()

    def blob(self, sha256: str) -> Path:
        """Return where a content lies, or would lie."""
        return self.blobs / sha256

    def put(self, data: bytes) -> str:
        """Keep a content and return its sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.blob(sha256)
        if not path.exists():
            staging = path.with_suffix(f".{secrets.token_hex(4)}")
            staging.write_bytes(data)
            staging.replace(path)
        return sha256

    def read(self, entry: FileEntry) -> bytes:
        """Return a file's content."""
        return self.blob(entry.sha256).read_bytes()

    def regular_entry(self, data: bytes) -> FileEntry:
        """Keep a content as an ordinary file."""
        return FileEntry(oid=git_oid(data), sha256=self.put(data), size=len(data))

    def lfs_entry(self, sha256: str) -> FileEntry:
        """Refer to a large file whose content is already kept."""
        size = self.blob(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return FileEntry(oid=git_oid(pointer), sha256=sha256, size=size, pointer_size=len(pointer))

    def create(self, kind: Kind, repo_id: str, *, private: bool = False) -> Repo:
        """Make a repository with the first commit the Hub makes."""
        repo = Repo(kind=kind, id=repo_id, private=private)
        self.repos[kind, repo_id] = repo
        files = {".gitattributes": self.regular_entry(GITATTRIBUTES.encode())}
        self.commit(repo, "main", files, title="initial commit")
        return repo

    def commit(
        self,
        repo: Repo,
        branch: str,
        files: Mapping[str, FileEntry],
        *,
        title: str,
        message: str = "",
        author: str = "system",
        oid: str | None = None,
    ) -> Commit:
        """Put a snapshot on a branch.

        Args:
            repo: The repository.
            branch: Made when it is not there.
            files: The whole snapshot, not a difference.
            title: First line of the message.
            message: The rest.
            author: Account name.
            oid: The commit's hash, so that a test can serve the very revision a recipe pins.
        """
        parent = repo.branches.get(branch)
        if oid is None:
            contents = sorted((path, entry.oid) for path, entry in files.items())
            unique = [contents, title, parent, secrets.token_hex(8)]
            oid = git_oid(json.dumps(unique).encode(), "commit")
        commit = Commit(
            oid=oid, files=dict(files), title=title, message=message, parent=parent, author=author
        )
        repo.commits[oid] = commit
        repo.branches[branch] = oid
        return commit

    def is_lfs_path(self, commit: Commit, path: str) -> bool:
        """Say whether .gitattributes sends a path to large-file storage."""
        if ".gitattributes" not in commit.files:
            return False
        lines = self.read(commit.files[".gitattributes"]).decode().splitlines()
        return matches_any(path, [line.split()[0] for line in lines if "filter=lfs" in line])

    def ignored_patterns(self, commit: Commit) -> list[str]:
        """Return the patterns of the repository's .gitignore."""
        if ".gitignore" not in commit.files:
            return []
        return ignore_patterns(self.read(commit.files[".gitignore"]).decode())


def ignore_patterns(text: str) -> list[str]:
    """Return the patterns of a .gitignore file, comments left out."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def matches_any(path: str, patterns: list[str]) -> bool:
    """Say whether a path or its last part matches one of the patterns."""
    return any(fnmatch(path, pattern) or fnmatch(Path(path).name, pattern) for pattern in patterns)
