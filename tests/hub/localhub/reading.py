"""What clients read: who they are, descriptions of repositories, trees, files."""

from __future__ import annotations

import json
import secrets
from typing import Any
from urllib.parse import parse_qs, quote

import yaml

from localhub.access import NOT_LOGGED_IN, find_repo, require_files_readable, require_writable
from localhub.router import KINDS, Context, route
from localhub.store import Commit, FileEntry, Repo, Store, git_oid
from localhub.wire import HubHTTPError, Reply, Request, json_reply


@route("GET", "/api/whoami-v2")
def whoami(context: Context, request: Request) -> Reply:
    account = context.account
    if account is None:
        raise HubHTTPError(401, NOT_LOGGED_IN)
    orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in account.orgs]
    token = {"type": "access_token", "accessToken": {"displayName": "local", "role": account.role}}
    named = {"id": account.name, "name": account.name, "fullname": account.name}
    return json_reply({"type": "user", **named, "isPro": False, "orgs": orgs, "auth": token})


@route("GET", "/api/(?P<kind>models|datasets|spaces)")
def list_repos(context: Context, request: Request) -> Reply:
    author, search = request.query.get("author", [""])[0], request.query.get("search", [""])[0]
    found = []
    for (kind, repo_id), repo in sorted(context.store.repos.items()):
        is_wanted = kind == KINDS[f"{context.params['kind']}/"] and search.lower() in repo_id.lower()
        is_member = context.account is not None and context.account.is_member(repo.owner)
        if is_wanted and author in ("", repo.owner) and (is_member or not repo.private):
            found.append(describe(context.store, repo, repo.find("main")))
    return json_reply(found)


@route("GET", "{api}")
@route("GET", "{api}/revision/(?P<revision>[^/]+)")
def repo_info(context: Context, request: Request) -> Reply:
    repo = context.repo
    commit = repo.find(context.params.get("revision") or "main")
    info = describe(context.store, repo, commit, with_blobs="blobs" in request.query)
    wanted = request.query.get("expand", request.query.get("expand[]"))
    if wanted:
        info = {key: value for key, value in info.items() if key in wanted or key in ("_id", "id")}
    return json_reply(info)


@route("GET", "{api}/auth-check")
def auth_check(context: Context, request: Request) -> Reply:
    require_files_readable(context.repo, context.account)
    return json_reply({})


@route("GET", "{api}/auth-check/write")
def auth_check_write(context: Context, request: Request) -> Reply:
    require_writable(context.repo, context.account)
    return json_reply({})


@route("GET", "{api}/refs")
def refs(context: Context, request: Request) -> Reply:
    repo = context.repo

    pulls = {name: oid for name, oid in repo.branches.items() if name.startswith("refs/")}
    branches = {name: oid for name, oid in repo.branches.items() if name not in pulls}
    answer = {
        "branches": _describe_refs("refs/heads/", branches),
        "tags": _describe_refs("refs/tags/", repo.tags),
        "converts": [],
    }
    if "include_prs" in request.query:
        answer["pullRequests"] = _describe_refs("", pulls)
    return json_reply(answer)


@route("GET", "{api}/commits/(?P<revision>[^/]+)")
def commits(context: Context, request: Request) -> Reply:
    listed = [
        {"id": c.oid, "title": c.title, "message": c.message, "authors": [{"user": c.author}], "date": c.date}
        for c in context.repo.history(context.params["revision"])
    ]
    return json_reply(listed, headers={"X-Total-Count": str(len(listed))})


@route("GET", "{api}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
def tree(context: Context, request: Request) -> Reply:
    repo = context.repo
    require_files_readable(repo, context.account)
    commit = repo.find(context.params["revision"])
    recursive, expand = request.flag("recursive"), request.flag("expand")
    entries = list_tree(commit, context.params.get("folder", "").strip("/"), recursive, expand)
    start = int(request.query.get("cursor", ["0"])[0])
    stop = start + context.hub.page_size
    headers = {}
    if stop < len(entries):
        query = f"recursive={recursive}&expand={expand}&cursor={stop}"
        headers["Link"] = f'<{context.hub.url}{request.path}?{query}>; rel="next"'
    return json_reply(entries[start:stop], headers=headers)


@route("POST", "{api}/paths-info/(?P<revision>[^/]+)")
def paths_info(context: Context, request: Request) -> Reply:
    repo = context.repo
    require_files_readable(repo, context.account)
    commit = repo.find(context.params["revision"])
    is_json = "json" in request.headers.get("Content-Type", "")
    form: dict[str, Any] = request.json() if is_json else parse_qs(request.body.decode())
    expand = str(form.get("expand", "false")).strip("[']").lower() == "true"
    listed = []
    for path in form.get("paths", []):
        if path in commit.files:
            listed.append(describe_file(path, commit, expand=expand))
        elif any(name.startswith(f"{path.rstrip('/')}/") for name in commit.files):
            listed.append(_describe_folder(path))
    return json_reply(listed)


@route("GET", "{api}/discussions")
def discussions(context: Context, request: Request) -> Reply:
    _ = context.repo  # hidden ones are refused
    return json_reply({"discussions": [], "count": 0, "start": 0, "numClosedDiscussions": 0})


@route("GET", "{repo}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(context: Context, request: Request) -> Reply:
    repo = find_repo(context.store, context.kind, context.params["repo"], context.account)
    require_files_readable(repo, context.account)
    commit = repo.find(context.params["revision"])
    path = context.params["path"]
    entry = commit.files.get(path)
    headers = {"X-Repo-Commit": commit.oid}
    if entry is None:
        raise HubHTTPError(404, "Entry not found", code="EntryNotFound", headers=headers)
    headers |= {"ETag": f'"{entry.etag}"', "Content-Disposition": f"inline; filename*=UTF-8''{quote(path)}"}
    if not entry.is_lfs:
        return Reply(file=context.store.blob(entry.sha256), headers=headers)
    # another origin, as on the real Hub: the client must not send its token there
    location = f"{context.hub.cdn_url}/cdn/{entry.sha256}?signature={secrets.token_hex(4)}"
    linked = {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size), "Location": location}
    xet = context.hub.xet
    if xet is not None and entry.sha256 in xet.by_sha256:
        access = f"{context.hub.url}/api/{repo.kind}s/{repo.id}/xet-read-token/{commit.oid}"
        linked |= {"X-Xet-Hash": xet.by_sha256[entry.sha256], "Link": f'<{access}>; rel="xet-auth"'}
    return Reply(status=302, headers=headers | linked)


@route("GET", "/cdn/(?P<sha256>[0-9a-f]{64})")
def cdn(context: Context, request: Request) -> Reply:
    path = context.store.blob(context.params["sha256"])
    if not path.exists():
        raise HubHTTPError(404, "not found")
    return Reply(file=path, headers={"ETag": f'"{path.name}"'})


def list_tree(commit: Commit, folder: str, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """Return the folders, then the files, below one folder."""
    prefix = f"{folder}/" if folder else ""
    folders: set[str] = set()
    files = []
    for path in sorted(name for name in commit.files if name.startswith(prefix)):
        parts = path.removeprefix(prefix).split("/")
        depth = len(parts) if recursive else min(len(parts), 2)
        folders |= {prefix + "/".join(parts[:i]) for i in range(1, depth)}
        if recursive or len(parts) == 1:
            files.append(describe_file(path, commit, expand=expand))
    if folder and not files and not folders:
        message, headers = f"{folder} does not exist on {commit.oid}", {"X-Repo-Commit": commit.oid}
        raise HubHTTPError(404, message, code="EntryNotFound", headers=headers)
    return [_describe_folder(name) for name in sorted(folders)] + files


def describe_file(path: str, commit: Commit, *, expand: bool = False) -> dict[str, Any]:
    """Return what the tree and paths-info say about a file."""
    entry = commit.files[path]
    info: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.is_lfs:
        info["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    if expand:
        info["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
    return info


def describe(store: Store, repo: Repo, commit: Commit, *, with_blobs: bool = False) -> dict[str, Any]:
    """Return what the model or data set endpoint says at a commit."""
    siblings = [_describe_sibling(name, entry, with_blobs) for name, entry in sorted(commit.files.items())]
    info: dict[str, Any] = {
        "_id": git_oid(repo.id.encode())[:24],
        "id": repo.id,
        "author": repo.owner,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": repo.created,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "usedStorage": sum(entry.size for entry in commit.files.values()),
        "siblings": siblings,
    }
    if repo.kind == "model":
        info["modelId"] = repo.id
    info |= _describe_card(store, commit)
    if repo.kind == "model" and "config.json" in commit.files:
        config = json.loads(store.read(commit.files["config.json"]))
        info["config"] = {key: config[key] for key in ("architectures", "model_type") if key in config}
    return info


def split_card(text: str) -> Any:
    """Return the metadata at the top of a README, None when there is none."""
    if not text.startswith("---"):
        return None
    return yaml.safe_load(text.split("---", 2)[1])


def _describe_refs(prefix: str, names: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in names.items()]


def _describe_folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": git_oid(path.encode(), "tree"), "size": 0, "path": path}


def _describe_sibling(name: str, entry: FileEntry, with_blobs: bool) -> dict[str, Any]:
    info: dict[str, Any] = {"rfilename": name}
    if with_blobs:
        info |= {"size": entry.size, "blobId": entry.oid}
        if entry.is_lfs:
            info["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return info


def _describe_card(store: Store, commit: Commit) -> dict[str, Any]:
    if "README.md" not in commit.files:
        return {}
    card = split_card(store.read(commit.files["README.md"]).decode())
    if not isinstance(card, dict):
        return {}
    data = json.loads(json.dumps(card, default=str))
    tags = data.get("tags") or []
    copied = {key: data[key] for key in ("library_name", "pipeline_tag", "model-index") if data.get(key)}
    return {"cardData": data, "tags": [tags] if isinstance(tags, str) else tags, **copied}
