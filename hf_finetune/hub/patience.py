"""Trying again: huggingface_hub 2.4 gives up at once in create_repo, whoami, repo_info, and on a commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from hf_finetune.hub_access import is_of_network

__all__ = ["ATTEMPTS", "find_status", "is_passing", "patiently"]

logger = logging.getLogger(__name__)

ATTEMPTS = 5
LONGEST_WAIT_S = 60.0

PASSING = (408, 412, 425, 429, 500, 502, 503, 504)
"""Answers that may be another one soon; 412 is somebody else's commit in between."""

Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer], *, what: str) -> Answer:
    """Call until it succeeds, with growing pauses; what will not pass by itself is raised at once.

    Args:
        call: Safe to repeat, also after an answer that got lost.
        what: Is being done, for the log, as in "creating me/model".

    Raises:
        Exception: What the last attempt raised.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:
            if attempt == ATTEMPTS or not is_passing(error):
                raise
            wait_s = min(_asked_wait(error) or 2.0 ** (attempt - 1), LONGEST_WAIT_S)
            logger.info("%s: %s; trying again in %g s", what, _name(error), wait_s)
            time.sleep(wait_s)
    raise AssertionError("unreachable")


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    status = find_status(error)
    if status is not None:
        return status in PASSING
    return any(is_of_network(cause) for cause in _chain(error))


def find_status(error: BaseException) -> int | None:
    """Return the status that the Hub answered with; None when no answer came."""
    for cause in _chain(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _asked_wait(error: BaseException) -> float | None:
    """Return the seconds of a Retry-After header; a date in it is not worth the code."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    text = str(headers.get("Retry-After", ""))
    return float(text) if text.isdigit() else None


def _name(error: BaseException) -> str:
    status = find_status(error)
    return f"status {status}" if status is not None else type(error).__name__
