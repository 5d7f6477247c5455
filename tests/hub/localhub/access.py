"""Who may do what. Tokens are drawn when the server starts: none is ever written down."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from localhub.store import Kind, Repo, Store
from localhub.wire import HubHTTPError

NOT_LOGGED_IN = "Invalid username or password."


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user with one token.

    Args:
        name: Also the namespace the user may write to.
        role: What the token allows.
        orgs: Organisations whose repositories the user may also read and write.
        token: Sent by the client in the Authorization header.
    """

    name: str
    role: Literal["read", "write"]
    orgs: tuple[str, ...]
    token: str

    def is_member(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


class Accounts:
    """All users by token."""

    def __init__(self) -> None:
        self._by_token: dict[str, Account] = {}

    def add(self, name: str, role: Literal["read", "write"] = "write", orgs: tuple[str, ...] = ()) -> Account:
        """Add a user with a fresh token."""
        account = Account(name=name, role=role, orgs=orgs, token=f"hf_{secrets.token_hex(17)}")
        self._by_token[account.token] = account
        return account

    def identify(self, authorization: str) -> Account | None:
        """Return who sent a request; None for an anonymous one."""
        if not authorization:
            return None
        account = self._by_token.get(authorization.removeprefix("Bearer ").strip())
        if account is None:
            raise HubHTTPError(401, "Invalid credentials in Authorization header")
        return account


def find_repo(store: Store, kind: Kind, repo_id: str, account: Account | None) -> Repo:
    """Return a repository the account may know about. To anyone else a private one does not exist."""
    repo = store.repos.get((kind, repo_id))
    is_hidden = repo is not None and repo.private and not _is_member(account, repo)
    if repo is None or is_hidden:
        if account is None:
            raise HubHTTPError(401, NOT_LOGGED_IN, code="RepoNotFound")
        raise HubHTTPError(404, "Repository not found", code="RepoNotFound")
    return repo


def require_files_readable(repo: Repo, account: Account | None) -> None:
    """Refuse the files of a gated repository to whoever was not let in; its description stays public."""
    if not repo.gated or _is_member(account, repo):
        return
    if account is None:
        message = f"Access to {repo.kind} {repo.id} is restricted. You must be authenticated to access it."
        raise HubHTTPError(401, message, code="GatedRepo")
    if account.name not in repo.readers:
        message = f"Access to {repo.kind} {repo.id} is restricted and you are not in the authorized list."
        raise HubHTTPError(403, message, code="GatedRepo")


def require_writable(repo: Repo, account: Account | None) -> None:
    """Refuse changes by others than members with a write token."""
    require_writer(repo.owner, account, "upload to this repository")


def require_writer(namespace: str, account: Account | None, action: str) -> Account:
    """Return the account when its token may write to a namespace."""
    if account is None:
        raise HubHTTPError(401, NOT_LOGGED_IN)
    if account.role != "write" or not account.is_member(namespace):
        raise HubHTTPError(403, f"Forbidden: you need a write token and the rights to {action}.")
    return account


def _is_member(account: Account | None, repo: Repo) -> bool:
    return account is not None and account.is_member(repo.owner)
