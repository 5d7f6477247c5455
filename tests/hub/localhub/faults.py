"""Faults on request: what a client does when the Hub is ill."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Fault:
    """What goes wrong, and how often.

    Args:
        path: Regular expression searched in path and query.
        method: Only requests of this method; None for all.
        times: Requests that suffer it.
        status: Answer with this status instead of serving.
        drop: Close the connection without an answer.
        truncate: Bytes of a file after which the connection is closed.
        delay_s: Wait before answering.
        headers: Sent with `status`, for example Retry-After.
    """

    path: str
    method: str | None = None
    times: int = 1
    status: int | None = None
    drop: bool = False
    truncate: int | None = None
    delay_s: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


class Faults:
    """The faults still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Let the next `fault.times` matching requests suffer it."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Be well again."""
        self._faults.clear()

    def take(self, method: str, target: str) -> Fault | None:
        """Return the first fault that hits a request, and count it."""
        with self._lock:
            for fault in self._faults:
                is_hit = fault.method in (None, method) and re.search(fault.path, target)
                if fault.times > 0 and is_hit:
                    fault.times -= 1
                    return fault
        return None
