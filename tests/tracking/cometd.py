"""As much of Comet's server on loopback as its unmodified client needs: it keeps what it is told."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

ALREADY_EXISTS, NO_SUCH_WORKSPACE = 90999, 90212


class Experiment:
    """What one experiment was told.

    Attributes:
        metrics: (name, value, step), in the order they came.
        sessions: How often a client began to write.
        is_alive: What the last client said before it left.
    """

    def __init__(self) -> None:
        self.metrics: list[tuple[str, Any, int | None]] = []
        self.parameters: dict[str, Any] = {}
        self.sessions = 0
        self.is_alive: bool | None = None


class Comet:
    """The server: what came, by experiment key."""

    def __init__(self) -> None:
        self.experiments: dict[str, Experiment] = defaultdict(Experiment)
        self.bodies: list[bytes] = []
        self.url = ""

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        told = json.loads(body) if body.startswith(b"{") else {}  # other bodies are files
        if path.endswith(("add/run", "get/run")):
            return self._begin(path, told)
        experiment = self.experiments[told["experimentKey"]] if "experimentKey" in told else Experiment()
        if path.endswith("batch/logger/experiment/metric"):
            experiment.metrics += [(m["metricName"], m["metricValue"], m["step"]) for m in told["values"]]
        elif path.endswith("batch/logger/experiment/parameter"):
            experiment.parameters |= {p["parameterName"]: p["parameterValue"] for p in told["values"]}
        elif path.endswith("status-report/update"):
            experiment.is_alive = told["is_alive"]
            return 200, {"is_alive_beat_duration_millis": 10000, "gpu_monitor_interval_millis": 10000}
        return 200, {"code": 200, "msg": "", "version": "9.9.9"}

    def _begin(self, path: str, told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if told.get("teamName") == "not-mine":
            return 400, {"sdk_error_code": NO_SUCH_WORKSPACE, "msg": "no such workspace"}
        key = told.get("experimentKey") or told["previousExperiment"]
        is_known = self.experiments[key].sessions > 0
        if path.endswith("add/run") and is_known and not told.get("getOrCreateEnabled"):
            return 400, {"sdk_error_code": ALREADY_EXISTS, "msg": "exists"}
        # a client first asks whether there is such an experiment by making it
        self.experiments[key].sessions += 1
        return 200, {"runId": "run", "project_id": "project", "focusUrl": f"{self.url}focus/"}


@contextmanager
def serve() -> Iterator[Comet]:
    comet = Comet()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            path = urlparse(self.path).path
            comet.bodies.append(body)
            status, content = comet.answer(path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST

        def log_message(self, *words: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    comet.url = f"http://127.0.0.1:{server.server_port}/clientlib/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield comet
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
