"""HTTP: what comes in, what goes out, byte ranges. Nothing here knows what a repository is."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from localhub.server import LocalHub

CHUNK = 1 << 20


class HubHTTPError(Exception):
    """An answer that is not a success, with the headers the client reads the reason from."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        reason = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.headers = {**reason, **(headers or {})}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, its body already read."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed; {} when there is none."""
        return json.loads(self.body or b"{}")

    def flag(self, name: str) -> bool:
        """Say whether a query parameter is switched on."""
        return self.query.get(name, ["false"])[0].lower() in ("true", "1")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: a body, or a file sent from the disk."""

    status: int = 200
    body: bytes = b""
    file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Exchange:
    """What a test can look at afterwards: one request and how it was answered.

    Args:
        method: Of the request.
        target: Path and query.
        is_authorized: Whether a token was sent, not which.
        range: Of the request; "" for the whole file.
        status: Of the answer; 0 when the connection was dropped.
    """

    method: str
    target: str
    is_authorized: bool
    range: str
    status: int = 0


def json_reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with JSON."""
    content_type = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(status=status, body=json.dumps(value).encode(), headers={**content_type, **(headers or {})})


def error_reply(error: HubHTTPError) -> Reply:
    """Answer with an error the way the Hub does: the reason is in the headers too."""
    return json_reply({"error": str(error)}, status=error.status, headers=error.headers)


class Handler(BaseHTTPRequestHandler):
    """One connection; `hub` is set by the server on its own subclass."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: ClassVar[LocalHub]

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the exchanges are kept in `hub.log`."""

    def answer(self) -> None:
        """Read the request, let a fault or the hub answer it, send that."""
        parts = urlsplit(self.path)
        exchange = Exchange(
            method=self.command,
            target=self.path,
            is_authorized="Authorization" in self.headers,
            range=self.headers.get("Range", ""),
        )
        self.hub.log.append(exchange)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            request = Request(
                method="GET" if self.command == "HEAD" else self.command,
                path=parts.path,
                query=parse_qs(parts.query),
                headers=self.headers,
                body=self._read_body(),
            )
            fault = self.hub.faults.take(self.command, self.path)
            if fault is not None:
                time.sleep(fault.delay_s)
                if fault.drop:
                    self._hang_up()
                    return
            if fault is not None and fault.status is not None:
                reply = json_reply({"error": "injected"}, status=fault.status, headers=fault.headers)
            else:
                reply = self.hub.respond(request)
            exchange.status = reply.status
            try:
                self._send(reply, truncate=fault.truncate if fault is not None else None)
            except HubHTTPError as error:
                exchange.status = error.status
                self._send(error_reply(error), truncate=None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _send(self, reply: Reply, *, truncate: int | None) -> None:
        start, stop, size = 0, len(reply.body), len(reply.body)
        status, headers = reply.status, dict(reply.headers)
        if reply.file is not None:
            size = reply.file.stat().st_size
            start, stop = 0, size
            headers["Accept-Ranges"] = "bytes"
            if (asked := _parse_range(self.headers.get("Range", ""), size)) is not None:
                start, stop = asked
                status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{size}"
        self.send_response(status)
        defaults = {"Content-Type": "application/octet-stream", "X-Request-Id": secrets.token_hex(6)}
        for name, value in {**defaults, **headers, "Content-Length": str(stop - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if reply.file is None:
            self.wfile.write(reply.body)
            return
        is_cut = truncate is not None and truncate < stop - start
        self._send_file(reply.file, start, start + truncate if is_cut and truncate is not None else stop)
        if is_cut:
            self._hang_up()

    def _send_file(self, path: Path, start: int, stop: int) -> None:
        with path.open("rb") as file:
            file.seek(start)
            while start < stop and (chunk := file.read(min(CHUNK, stop - start))):
                self.wfile.write(chunk)
                start += len(chunk)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def _parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte to send and the one after the last; None for the whole file."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(size - int(match[2]), 0), size
    start, stop = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    if start >= size:
        raise HubHTTPError(416, "range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    return start, stop
