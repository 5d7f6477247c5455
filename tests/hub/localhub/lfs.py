"""Large files: the batch call says where to put them, in one piece or in parts."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from typing import Any

from localhub.access import find_repo, require_writable
from localhub.router import Context, route
from localhub.wire import HubHTTPError, Reply, Request, json_reply

OID = "(?P<oid>[0-9a-f]{64})"


@route("POST", r"{repo}\.git/info/lfs/objects/batch")
def batch(context: Context, request: Request) -> Reply:
    repo = find_repo(context.store, context.kind, context.params["repo"], context.account)
    asked = request.json()
    if asked.get("operation") == "upload":
        require_writable(repo, context.account)
    may_split = "multipart" in asked.get("transfers", [])
    objects = [_plan(context, item["oid"], item["size"], may_split=may_split) for item in asked["objects"]]
    is_split = any("header" in item.get("actions", {}).get("upload", {}) for item in objects)
    transfer = "multipart" if is_split else "basic"
    if context.hub.xet is not None and "xet" in asked.get("transfers", []):
        transfer = "xet"
    answer = {"transfer": transfer, "objects": objects}
    return json_reply(answer, headers={"Content-Type": "application/vnd.git-lfs+json"})


@route("PUT", f"/lfs/put/{OID}")
def put(context: Context, request: Request) -> Reply:
    _require_content(request.body, context.params["oid"])
    context.store.put(request.body)
    return Reply(headers={"ETag": f'"{context.params["oid"]}"'})


@route("PUT", f"/lfs/part/{OID}/(?P<upload>[0-9a-f]+)/(?P<number>[0-9]+)")
def put_part(context: Context, request: Request) -> Reply:
    folder = context.store.blobs / f"{context.params['oid']}-{context.params['upload']}"
    folder.mkdir(exist_ok=True)
    (folder / context.params["number"]).write_bytes(request.body)
    return Reply(headers={"ETag": f'"{_md5(request.body)}"'})


@route("POST", f"/lfs/complete/{OID}/(?P<upload>[0-9a-f]+)")
def complete(context: Context, request: Request) -> Reply:
    folder = context.store.blobs / f"{context.params['oid']}-{context.params['upload']}"
    content = b""
    for part in sorted(request.json()["parts"], key=lambda part: int(part["partNumber"])):
        data = (folder / str(part["partNumber"])).read_bytes()
        if part["etag"].strip('"') != _md5(data):
            raise HubHTTPError(400, "bad part etag")
        content += data
    _require_content(content, context.params["oid"])
    context.store.put(content)
    shutil.rmtree(folder)
    return json_reply({})


@route("POST", f"/lfs/verify/{OID}")
def verify(context: Context, request: Request) -> Reply:
    path = context.store.blob(context.params["oid"])
    if not path.exists() or path.stat().st_size != request.json()["size"]:
        raise HubHTTPError(404, "object missing")
    return json_reply({})


def _plan(context: Context, oid: str, size: int, *, may_split: bool) -> dict[str, Any]:
    """Say how to upload one object; without actions the client knows that it is already there."""
    hub = context.hub
    plan: dict[str, Any] = {"oid": oid, "size": size}
    if context.store.blob(oid).exists():
        return plan
    upload_id = secrets.token_hex(8)
    upload: dict[str, Any] = {"href": f"{hub.url}/lfs/put/{oid}?signature={upload_id}"}
    if may_split and hub.multipart_over is not None and size > hub.multipart_over:
        num_parts = -(-size // hub.part_size)
        parts = {f"{i:05d}": f"{hub.url}/lfs/part/{oid}/{upload_id}/{i}" for i in range(1, num_parts + 1)}
        href = f"{hub.url}/lfs/complete/{oid}/{upload_id}"
        upload = {"href": href, "header": {"chunk_size": str(hub.part_size), **parts}}
    return plan | {"actions": {"upload": upload, "verify": {"href": f"{hub.url}/lfs/verify/{oid}"}}}


def _require_content(content: bytes, oid: str) -> None:
    if hashlib.sha256(content).hexdigest() != oid:
        raise HubHTTPError(400, "content does not match its oid")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
