"""Asking again where huggingface_hub does not.

huggingface_hub 2.4 retries some requests to its API, but none for the body of a file that is answered by an
error. One 503 then ends a load; or worse, transformers takes an optional file that it could not fetch for one
that is not there, and loads something else than at a better time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["patient_reads"]

logger = logging.getLogger(__name__)

WAITS_S = (1.0, 2.0, 4.0)
PASSING = (500, 502, 503, 504)
"""Answers that may be another one soon; to 408 and 429 the client itself listens."""


@contextmanager
def patient_reads() -> Iterator[None]:
    """Let the Hub client's session ask again, with growing pauses, for what it reads in this block.

    Nothing that writes is repeated. The session is that of the process, made by the user's own factory where
    there is one, and is as before after the block.
    """
    from huggingface_hub import get_session

    session: Any = get_session()
    if "send" in vars(session):  # this block is in another one
        yield
        return
    session.send = _repeat(session.send)
    try:
        yield
    finally:
        del session.send


def _repeat(send: Callable[..., Any]) -> Callable[..., Any]:
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # whichever it is built on

    lost = (httpx.RemoteProtocolError, httpx.ReadError)  # not those of a network that is not there
    given_up: set[tuple[str, str]] = set()

    def send_patiently(request: Any, **how: Any) -> Any:
        """Send until there is an answer; what was given up before is sent once, for callers repeat, too."""
        asked = (request.method, str(request.url))
        is_read = request.method in ("GET", "HEAD") and asked not in given_up
        for wait_s in WAITS_S if is_read else ():
            try:
                response = send(request, **how)
            except lost as error:
                said = type(error).__name__
            else:
                if response.status_code not in PASSING:
                    return response
                response.close()
                said = f"status {response.status_code}"
            logger.info("reading %s: %s; trying again in %g s", request.url.path, said, wait_s)
            time.sleep(wait_s)
        if is_read:
            given_up.add(asked)
        response = send(request, **how)
        if response.status_code not in PASSING:
            given_up.discard(asked)
        return response

    return send_patiently
