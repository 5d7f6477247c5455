"""LocalHub: everything behind one port of the loopback interface."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from localhub import lfs, reading, writing, xet  # noqa: F401  (their routes register themselves)
from localhub.access import Account, Accounts
from localhub.faults import Fault, Faults
from localhub.router import dispatch
from localhub.store import LFS_PATTERNS, FileEntry, Kind, Repo, Store, matches_any
from localhub.wire import Exchange, Handler, HubHTTPError, Reply, Request, error_reply
from localhub.xet import XetStore


class LocalHub:
    """A Hub that clients reach by `HF_ENDPOINT=hub.url`; a context manager that starts and stops it.

    Args:
        root: Folder for the contents of files.
        multipart_over: Bytes from which large files are uploaded in parts; None for never.
        part_size: Bytes of a part.
        page_size: Entries of a tree in one answer.
        has_xet: Whether large files may come and go as chunks.
    """

    def __init__(
        self,
        root: Path,
        *,
        multipart_over: int | None = None,
        part_size: int = 5 << 20,
        page_size: int = 1000,
        has_xet: bool = False,
    ) -> None:
        self.store = Store(root)
        self.xet = XetStore(root) if has_xet else None
        self.accounts = Accounts()
        self.faults = Faults()
        self.log: list[Exchange] = []
        self.multipart_over, self.part_size, self.page_size = multipart_over, part_size, page_size
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.cdn_url = f"http://localhost:{port}"

    def __enter__(self) -> Self:
        serve = {"poll_interval": 0.02}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def respond(self, request: Request) -> Reply:
        """Answer one request; a defect of this server is printed, and a 500 for the client."""
        try:
            with self.store.lock:
                return dispatch(self, request)
        except HubHTTPError as error:
            return error_reply(error)
        except Exception as error:
            traceback.print_exc()
            return error_reply(HubHTTPError(500, f"the test's hub failed: {error!r}"))

    def add_account(
        self, name: str, *, role: Literal["read", "write"] = "write", orgs: Iterable[str] = ()
    ) -> Account:
        """Add a user with a token drawn now."""
        return self.accounts.add(name, role, tuple(orgs))

    def fail(self, fault: Fault) -> None:
        """Let requests to come suffer a fault."""
        self.faults.add(fault)

    def add_folder(
        self,
        kind: Kind,
        repo_id: str,
        folder: Path,
        *,
        revision: str | None = None,
        private: bool = False,
        gated: bool = False,
    ) -> Repo:
        """Publish a folder on `main`, without the network.

        Args:
            kind: What kind of repository; made when it is not there.
            repo_id: Owner and name.
            folder: Its files are the whole commit.
            revision: Hash of the commit, 40 hex digits; None for any.
            private: Only members of the owner know that it is there.
            gated: Its files are only for members and `repo.readers`.
        """
        repo = self.store.repos.get((kind, repo_id)) or self.store.create(kind, repo_id)
        repo.private, repo.gated = private, gated
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): self._keep(path) for path in paths}
        self.store.commit(repo, "main", files, title=f"Publish {folder.name}", oid=revision)
        return repo

    def environment(self, home: Path, account: Account | None = None) -> dict[str, str]:
        """Return the environment of a client process that knows this hub and nothing else.

        Args:
            home: Folder for the client's caches.
            account: Whose token it has; None for an anonymous client.
        """
        foreign = ("HF_", "HUGGING_FACE_", "TRANSFORMERS_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        own = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "0" if self.xet else "1",
            "HF_EVALUATE_OFFLINE": "1",
        }
        return {**inherited, **own, **({"HF_TOKEN": account.token} if account else {})}

    def _keep(self, path: Path) -> FileEntry:
        content = path.read_bytes()
        if matches_any(path.name, LFS_PATTERNS):
            return self.store.lfs_entry(self.store.put(content))
        return self.store.regular_entry(content)
