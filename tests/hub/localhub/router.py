"""Method and path -> the function that answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from localhub.access import Account, find_repo
from localhub.store import Kind, Repo, Store
from localhub.wire import HubHTTPError, Reply, Request

if TYPE_CHECKING:
    from localhub.server import LocalHub

VERBS = (
    "auth-check|branch|commit|commits|discussions|paths-info|preupload|refs|revision|settings|tag|tree"
    "|xet-read-token|xet-write-token"
)
# a repository's name has one part or two, and the part after it may not be taken for the second
REPO = rf"(?P<repo>[^/]+(?:/(?!(?:{VERBS})(?:/|$))[^/]+)?)"
KINDS: dict[str, Kind] = {"": "model", "models/": "model", "datasets/": "dataset", "spaces/": "space"}


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an answering function is given beside the request.

    Args:
        hub: The server.
        account: Who asks; None for an anonymous client.
        params: Named parts of the path, decoded.
    """

    hub: LocalHub
    account: Account | None
    params: dict[str, str]

    @property
    def store(self) -> Store:
        return self.hub.store

    @property
    def kind(self) -> Kind:
        return KINDS[self.params.get("kind", "")]

    @property
    def repo(self) -> Repo:
        """The repository in the path, if the account may know about it."""
        return find_repo(self.store, self.kind, self.params["repo"], self.account)


Answer = Callable[[Context, Request], Reply]
_ROUTES: list[tuple[str, re.Pattern[str], Answer]] = []


def route(method: str, pattern: str) -> Callable[[Answer], Answer]:
    """Let the decorated function answer requests whose whole path matches.

    `{api}` stands for `/api/models/` and the like with the repository's name, `{repo}` for the name in
    addresses of files, where models have no prefix.
    """
    api = rf"/api/(?P<kind>models/|datasets/|spaces/){REPO}"
    repo = r"/(?P<kind>datasets/|spaces/|)(?P<repo>[^/]+(?:/[^/]+)?)"
    compiled = re.compile(pattern.replace("{api}", api).replace("{repo}", repo))

    def add(answer: Answer) -> Answer:
        _ROUTES.append((method, compiled, answer))
        return answer

    return add


def dispatch(hub: LocalHub, request: Request) -> Reply:
    """Answer a request with the first route that matches."""
    for method, pattern, answer in _ROUTES:
        match = pattern.fullmatch(request.path)
        if match is not None and method == request.method:
            params = {name: unquote(value or "") for name, value in match.groupdict().items()}
            # the store of chunks has keys of its own
            own = "" if request.path.startswith("/xet/") else request.headers.get("Authorization", "")
            account = hub.accounts.identify(own)
            return answer(Context(hub=hub, account=account, params=params), request)
    raise HubHTTPError(404, f"no route for {request.method} {request.path}")
