"""Xet: large files as chunks in xorbs, put together again by what a shard says about each file.

As much of a content-addressed store as hf_xet 1.8 asks for: POST of xorbs and shards, GET of reconstructions
and of ranges of xorbs. The query for known chunks is answered by 404, which means that none is known.

Source: github.com/huggingface/xet-core, formats of xorbs and shards
"""

from __future__ import annotations

import hashlib
import re
import secrets
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lz4.frame

from localhub.access import require_files_readable, require_writable
from localhub.router import Context, route
from localhub.store import Store
from localhub.wire import HubHTTPError, Reply, Request, json_reply

HASH = "[0-9a-f]{64}"
TAG_BYTES, ENTRY_BYTES = 48, 48
END = b"\xff" * 32
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30
STORED, LZ4, LZ4_BY_BYTE = 0, 1, 2
HOUR_S = 3600


@dataclass(frozen=True)
class Term:
    """A run of chunks of one xorb, the next part of a file.

    Args:
        xorb: Hash of the xorb.
        start: First chunk.
        stop: The chunk after the last.
        size: Bytes of the file it gives.
    """

    xorb: str
    start: int
    stop: int
    size: int


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies in its xorb: header and payload together, how it is packed, its unpacked size."""

    offset: int
    length: int
    scheme: int
    size: int


class XetStore:
    """Xorbs on the disk, shards in memory.

    Args:
        root: Folder for the xorbs.
    """

    def __init__(self, root: Path) -> None:
        self.xorbs = root / "xorbs"
        self.xorbs.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, list[Term]] = {}
        self.by_sha256: dict[str, str] = {}
        self.keys: dict[str, str] = {}

    def add_shard(self, data: bytes) -> None:
        """Take in the files that a shard describes."""
        at = TAG_BYTES
        while data[at : at + 32] != END:
            file_hash = _name(data[at : at + 32])
            flags, num_terms = struct.unpack("<II", data[at + 32 : at + 40])
            at += ENTRY_BYTES
            terms = []
            for _ in range(num_terms):
                _, size, start, stop = struct.unpack("<IIII", data[at + 32 : at + 48])
                terms.append(Term(_name(data[at : at + 32]), start, stop, size))
                at += ENTRY_BYTES
            at += ENTRY_BYTES * num_terms if flags & HAS_VERIFICATION else 0
            if flags & HAS_SHA256:
                self.by_sha256[_name(data[at : at + 32])] = file_hash
                at += ENTRY_BYTES
            self.files[file_hash] = terms

    def chunks(self, xorb: str) -> list[Chunk]:
        """Read the headers of a xorb's chunks, up to its footer."""
        data = (self.xorbs / xorb).read_bytes()
        at, found = 0, []
        while at + 8 <= len(data) and data[at] == 0:
            length = 8 + int.from_bytes(data[at + 1 : at + 4], "little")
            found.append(Chunk(at, length, data[at + 4], int.from_bytes(data[at + 5 : at + 8], "little")))
            at += length
        return found

    def read(self, file_hash: str) -> Iterator[bytes]:
        """Unpack a file chunk by chunk."""
        for term in self.files[file_hash]:
            data = (self.xorbs / term.xorb).read_bytes()
            for chunk in self.chunks(term.xorb)[term.start : term.stop]:
                yield _unpack(data[chunk.offset + 8 : chunk.offset + chunk.length], chunk)

    def materialize(self, sha256: str, store: Store) -> bool:
        """Put a file together for clients that do not speak Xet; False when it is not here, or damaged."""
        file_hash = self.by_sha256.get(sha256)
        if file_hash is None:
            return False
        content = b"".join(self.read(file_hash))
        return hashlib.sha256(content).hexdigest() == sha256 and store.put(content) == sha256


@route("GET", "{api}/xet-(?P<right>read|write)-token/(?P<revision>[^/]+)")
def token(context: Context, request: Request) -> Reply:
    repo = context.repo
    if context.params["right"] == "write":
        require_writable(repo, context.account)
    else:
        require_files_readable(repo, context.account)
    if context.hub.xet is None:
        raise HubHTTPError(404, "Xet is not available on this hub")
    url, expires = f"{context.hub.url}/xet", int(time.time()) + HOUR_S
    key = f"xet_{secrets.token_hex(8)}"
    context.hub.xet.keys[key] = context.params["right"]
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Token-Expiration": str(expires), "X-Xet-Access-Token": key}
    return json_reply({"casUrl": url, "exp": expires, "accessToken": key}, headers=headers)


@route("POST", f"/xet/v1/xorbs/[^/]+/(?P<xorb>{HASH})")
def put_xorb(context: Context, request: Request) -> Reply:
    path = _xet(context, request, "write").xorbs / context.params["xorb"]
    is_new = not path.exists()
    path.write_bytes(request.body)
    return json_reply({"was_inserted": is_new})


@route("POST", "/xet/v1/shards")
def put_shard(context: Context, request: Request) -> Reply:
    _xet(context, request, "write").add_shard(request.body)
    return json_reply({"result": 1})


@route("GET", f"/xet/data/(?P<xorb>{HASH})")
def get_xorb(context: Context, request: Request) -> Reply:
    if context.hub.xet is None:
        raise HubHTTPError(404, "Xet is not available on this hub")
    return Reply(file=context.hub.xet.xorbs / context.params["xorb"])  # its address is the right to it


@route("GET", f"/xet/v1/reconstructions/(?P<file>{HASH})")
def reconstruct(context: Context, request: Request) -> Reply:
    """Say which chunks a file, or a range of its bytes, is made of, and where their bytes are."""
    xet = _xet(context, request, "read")
    terms = xet.files.get(context.params["file"])
    if terms is None:
        raise HubHTTPError(404, "unknown file")
    low, high = _asked(request, sum(term.size for term in terms))
    wanted: list[dict[str, Any]] = []
    spans: dict[str, list[tuple[int, int]]] = {}
    first, at = None, 0
    for term in terms:
        if at + term.size > low and at <= high:
            table = xet.chunks(term.xorb)
            start, stop, begin, end = term.start, term.stop, at, at + term.size
            while begin + table[start].size <= low:
                begin, start = begin + table[start].size, start + 1
            while stop - 1 > start and end - table[stop - 1].size > high:
                end, stop = end - table[stop - 1].size, stop - 1
            first = low - begin if first is None else first
            span = {"start": start, "end": stop}
            wanted.append({"hash": term.xorb, "unpacked_length": end - begin, "range": span})
            spans.setdefault(term.xorb, []).append((start, stop))
        at += term.size
    places = {xorb: [_place(context, xorb, *span) for span in _join(found)] for xorb, found in spans.items()}
    return json_reply({"offset_into_first_range": first or 0, "terms": wanted, "fetch_info": places})


def _join(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Make one of those that overlap: the client takes the first place that a chunk may be in."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _place(context: Context, xorb: str, start: int, stop: int) -> dict[str, Any]:
    table = context.hub.xet.chunks(xorb) if context.hub.xet else []
    last = table[stop - 1]
    return {
        "range": {"start": start, "end": stop},
        "url": f"{context.hub.url}/xet/data/{xorb}",
        "url_range": {"start": table[start].offset, "end": last.offset + last.length - 1},
    }


def _asked(request: Request, size: int) -> tuple[int, int]:
    """Return the first and the last byte of the range asked for."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if match is None:
        return 0, size - 1
    low = int(match[1])
    if low >= size:
        raise HubHTTPError(416, "range not satisfiable")
    return low, min(int(match[2]) if match[2] else size - 1, size - 1)


def _xet(context: Context, request: Request, right: str) -> XetStore:
    """Return the store to whoever has a key of it; one that writes reads, too."""
    xet = context.hub.xet
    if xet is None:
        raise HubHTTPError(404, "Xet is not available on this hub")
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if xet.keys.get(key) not in ("write", right):
        raise HubHTTPError(401, "this key does not open the store")
    return xet


def _name(digest: bytes) -> str:
    """Write a hash as Xet does: four little-endian words of 64 bits."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", digest))


def _unpack(payload: bytes, chunk: Chunk) -> bytes:
    if chunk.scheme == STORED:
        return payload
    plain = lz4.frame.decompress(payload)
    if chunk.scheme == LZ4_BY_BYTE:  # the first bytes of all words of four, then the second ones ...
        mixed, at = bytearray(len(plain)), 0
        for place in range(4):
            count = (len(plain) - place + 3) // 4
            mixed[place::4] = plain[at : at + count]
            at += count
        plain = bytes(mixed)
    return plain
