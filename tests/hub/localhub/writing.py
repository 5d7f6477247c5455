"""What clients change: repositories, commits, branches, tags, settings."""

from __future__ import annotations

import base64
import json
from typing import Any

import yaml

from localhub.access import find_repo, require_writable, require_writer
from localhub.reading import split_card
from localhub.router import KINDS, Context, route
from localhub.store import FileEntry, Repo, ignore_patterns, matches_any
from localhub.wire import HubHTTPError, Reply, Request, json_reply

LARGE_FILE = 10 << 20
"""Bytes from which the Hub asks for large-file storage whatever the name."""


@route("POST", "/api/repos/create")
def create_repo(context: Context, request: Request) -> Reply:
    asked = request.json()
    kind = KINDS[f"{asked.get('type') or 'model'}s/"]
    namespace = asked.get("organization") or (context.account.name if context.account else "")
    account = require_writer(namespace, context.account, f'create a {kind} under the namespace "{namespace}"')
    repo_id = f"{namespace or account.name}/{asked['name']}"
    known = context.store.repos.get((kind, repo_id))
    if known is not None:
        error = f"You already created this {kind} repo"
        taken = {"error": error, "url": context.hub.url + known.url_path, "id": repo_id}
        return json_reply(taken, status=409, headers={"X-Error-Message": error})
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    repo = context.store.create(kind, repo_id, private=private)
    return json_reply({"url": context.hub.url + repo.url_path, "name": repo_id, "id": repo_id})


@route("DELETE", "/api/repos/delete")
def delete_repo(context: Context, request: Request) -> Reply:
    asked = request.json()
    kind = KINDS[f"{asked.get('type') or 'model'}s/"]
    namespace = asked.get("organization") or (context.account.name if context.account else "")
    repo = find_repo(context.store, kind, f"{namespace}/{asked['name']}", context.account)
    require_writable(repo, context.account)
    del context.store.repos[kind, repo.id]
    return json_reply({})


@route("POST", "/api/validate-yaml")
def validate_card(context: Context, request: Request) -> Reply:
    try:
        card = split_card(request.json().get("content", ""))
    except yaml.YAMLError as error:
        return json_reply({"errors": [{"message": f"YAML: {error}"}], "warnings": []}, status=400)
    if card is None:
        warning = {"message": "empty or missing yaml metadata in repo card"}
        return json_reply({"errors": [], "warnings": [warning]})
    errors = [
        {"message": f'"{key}" must be an array'}
        for key in ("tags", "datasets", "metrics")
        if not isinstance(card.get(key, []), list | str)
    ]
    errors += [
        {"message": '"model-index[0].name" is required'}
        for result in card.get("model-index") or []
        if not result.get("name")
    ]
    return json_reply({"errors": errors, "warnings": []}, status=400 if errors else 200)


@route("PUT", "{api}/settings")
def settings(context: Context, request: Request) -> Reply:
    repo = _writable_repo(context)
    asked = request.json()
    if "visibility" in asked or "private" in asked:
        repo.private = asked.get("visibility") == "private" or bool(asked.get("private"))
    if "gated" in asked:
        repo.gated = bool(asked["gated"])
    return json_reply({"private": repo.private, "gated": repo.gated})


@route("POST", "{api}/branch/(?P<name>.+)")
def create_branch(context: Context, request: Request) -> Reply:
    repo, name = _writable_repo(context), context.params["name"]
    if name in repo.branches:
        raise HubHTTPError(409, "Reference already exists")
    repo.branches[name] = repo.find(request.json().get("startingPoint") or "main").oid
    return json_reply({})


@route("DELETE", "{api}/branch/(?P<name>.+)")
def delete_branch(context: Context, request: Request) -> Reply:
    repo, name = _writable_repo(context), context.params["name"]
    if name == "main":
        raise HubHTTPError(403, "Cannot delete main")
    return _forget(repo.branches, name)


@route("POST", "{api}/tag/(?P<revision>[^/]+)")
def create_tag(context: Context, request: Request) -> Reply:
    repo, tag = _writable_repo(context), request.json()["tag"]
    if tag in repo.tags:
        raise HubHTTPError(409, "Tag reference exists already")
    repo.tags[tag] = repo.find(context.params["revision"]).oid
    return json_reply({})


@route("DELETE", "{api}/tag/(?P<name>.+)")
def delete_tag(context: Context, request: Request) -> Reply:
    return _forget(_writable_repo(context).tags, context.params["name"])


@route("POST", "{api}/preupload/(?P<revision>[^/]+)")
def preupload(context: Context, request: Request) -> Reply:
    """Say for each file whether it goes into the commit or to large-file storage, and what is there now."""
    store, repo = context.store, _writable_repo(context)
    commit = repo.find(context.params["revision"])
    asked = request.json()
    own = asked.get("gitIgnore")
    ignored = ignore_patterns(own) if own else store.ignored_patterns(commit)
    answers = []
    for file in asked["files"]:
        path, sample = file["path"], base64.b64decode(file.get("sample") or "")
        is_lfs = store.is_lfs_path(commit, path) or file["size"] > LARGE_FILE or b"\0" in sample
        current = commit.files.get(path)
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if is_lfs else "regular",
                "shouldIgnore": matches_any(path, ignored),
                "oid": current.etag if current else None,
            }
        )
    return json_reply({"files": answers, "commitOid": commit.oid})


@route("POST", "{api}/commit/(?P<revision>[^/]+)")
def create_commit(context: Context, request: Request) -> Reply:
    """Apply operations, a JSON object a line, on top of a branch; all of them or none."""
    store, repo, branch = context.store, _writable_repo(context), context.params["revision"]
    if branch not in repo.branches:
        raise HubHTTPError(404, f"Invalid rev id: {branch}", code="RevisionNotFound")
    head = repo.find(branch)
    files = dict(head.files)
    header: dict[str, Any] = {}
    for line in filter(None, request.body.splitlines()):
        operation = json.loads(line)
        if operation["key"] == "header":
            header = operation["value"]
        else:
            _apply(context, files, operation["key"], operation["value"])
    if not head.oid.startswith(header.get("parentCommit") or ""):
        raise HubHTTPError(412, "A commit has happened since. Please refresh and try again.")
    pull_request = {}
    if "create_pr" in request.query:
        number = len(repo.pull_requests) + 1
        branch = f"refs/pr/{number}"
        repo.pull_requests[number] = header.get("summary", "")
        repo.branches[branch] = head.oid
        pull_request = {"pullRequestUrl": f"{context.hub.url}{repo.url_path}/discussions/{number}"}
    commit = store.commit(
        repo,
        branch,
        files,
        title=header.get("summary", ""),
        message=header.get("description", ""),
        author=context.account.name if context.account else "",
    )
    url = f"{context.hub.url}{repo.url_path}/commit/{commit.oid}"
    made = {"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""}
    return json_reply(made | pull_request)


def _apply(context: Context, files: dict[str, FileEntry], key: str, value: dict[str, Any]) -> None:
    """Apply one operation of a commit to the files of its parent."""
    store, path = context.store, value.get("path", "")
    if key == "file":
        is_base64 = value.get("encoding") == "base64"
        content = base64.b64decode(value["content"]) if is_base64 else value["content"].encode()
        files[path] = store.regular_entry(content)
    elif key == "lfsFile":
        xet = context.hub.xet
        if not store.blob(value["oid"]).exists() and not (xet and xet.materialize(value["oid"], store)):
            raise HubHTTPError(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = store.lfs_entry(value["oid"])
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise HubHTTPError(404, f"A file with this name doesn't exist: {path}", code="EntryNotFound")
    elif key == "deletedFolder":
        for name in [name for name in files if name.startswith(f"{path.rstrip('/')}/")]:
            del files[name]


def _writable_repo(context: Context) -> Repo:
    repo = context.repo
    require_writable(repo, context.account)
    return repo


def _forget(names: dict[str, str], name: str) -> Reply:
    if names.pop(name, None) is None:
        raise HubHTTPError(404, f"Invalid rev id: {name}", code="RevisionNotFound")
    return json_reply({})
