"""Reading from the Hub: fail fast without a network, and say what went wrong in the user's words.

The clients of datasets, transformers and huggingface_hub retry for up to a minute before they give up on a
dead network, then raise one of a dozen exceptions. Here the network is tried once, with a short limit; where
it is dead, what is in the cache is still used.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Literal

from hf_finetune.errors import HubError
from hf_finetune.patient_reads import patient_reads

__all__ = [
    "find_cached_commit",
    "is_of_network",
    "is_path",
    "is_reachable",
    "list_cached",
    "reading_hub",
    "tell_code_allowed",
]

logger = logging.getLogger(__name__)

PROBE_LIMIT_S = 4.0
PROXY_FAILED = (407, 502, 503, 504)
"""Answers of a proxy that has no way to the Hub."""

Kind = Literal["model", "dataset"]


@contextmanager
def reading_hub(
    kind: Kind, name: str, *, revision: str | None = None, where: str | None = None
) -> Iterator[None]:
    """Do in this block what reads a repository of the Hub; a local folder passes through untouched.

    Args:
        kind: What the repository holds.
        name: Its id, or a path.
        revision: Asked for; named in the message when there is no such one.
        where: `file:line:column` of the id in the recipe.

    Raises:
        HubError: No network and nothing in the cache; no such repository or revision; no right to read it;
            or a path, and nothing there.
    """
    if Path(name).exists():
        yield
        return
    if is_path(name):
        raise HubError(f"there is nothing at {Path(name).absolute()}", where=where, todo="Check the path.")
    try:
        if is_reachable():
            with patient_reads():
                yield
        else:
            with _offline():
                yield
    except HubError:
        raise
    except Exception as error:  # of half a dozen libraries; what has nothing to do with the Hub goes on
        known = _explain(error, kind, name, revision, where)
        if known is None:
            raise
        raise known from error


def is_path(name: str) -> bool:
    """Whether a name can only be a path: no id of the Hub begins like one or has two slashes."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


@cache
def is_reachable() -> bool:
    """Try once per process, for a few seconds, whether the Hub answers. Offline mode is not tried."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return False
    problem = _within(PROBE_LIMIT_S, lambda: _try(get_session(), constants.ENDPOINT))
    if problem:
        logger.warning("%s cannot be reached (%s): only the cache can be used", constants.ENDPOINT, problem)
    return problem is None


def _try(session: Any, endpoint: str) -> str | None:
    """Return what is wrong with the way to the Hub, or None."""
    try:
        status = session.head(endpoint, timeout=PROBE_LIMIT_S).status_code
    except Exception as error:  # the exceptions are those of whichever HTTP library the client is built on
        return str(error) or type(error).__name__
    return f"status {status}" if status in PROXY_FAILED else None


def _within(limit_s: float, attempt: Callable[[], str | None]) -> str | None:
    """Return what an attempt returns, or that it takes too long: looking a name up has no limit."""
    answers: SimpleQueue[str | None] = SimpleQueue()
    Thread(target=lambda: answers.put(attempt()), name="try-the-hub", daemon=True).start()
    try:
        return answers.get(timeout=limit_s)
    except Empty:
        return f"no answer in {limit_s:g} s"


def tell_code_allowed(source: str, revision: str | None) -> None:
    """Name whose code the command line has allowed to run here, before any of it does.

    Args:
        source: Id of a repository, or a folder.
        revision: Of the repository.
    """
    at = "" if Path(source).exists() else f" at revision {revision or 'main'}"
    logger.warning("--trust-remote-code: code that comes with %s%s may run on this machine", source, at)


def list_cached(kind: Kind) -> list[str]:
    """List the ids of the repositories in the cache of the Hub client, sorted."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob(f"{kind}s--*/snapshots")
    return sorted(folder.parent.name.removeprefix(f"{kind}s--").replace("--", "/") for folder in folders)


def find_cached_commit(kind: Kind, name: str, revision: str) -> str | None:
    """Return the commit that a revision was when it was last fetched; None when it never was."""
    from huggingface_hub import constants

    if len(revision) == 40:
        return revision
    ref = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}" / "refs" / revision
    return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


@contextmanager
def _offline() -> Iterator[None]:
    """Switch the clients to offline mode, as HF_HUB_OFFLINE=1 at the start of the process would."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _explain(
    error: BaseException, kind: Kind, name: str, revision: str | None, where: str | None
) -> HubError | None:
    """Return what to tell the user; None for an error that has nothing to do with the Hub."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import constants, errors

    causes = list(_chain(error))
    what = {"model": "checkpoint", "dataset": "data set"}[kind]
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    near = difflib.get_close_matches(name, [known for known in list_cached(kind) if known != name], n=3)
    hint = f" Cached here: {', '.join(near)}" if near else ""

    def has(*types: type[BaseException], text: str = "") -> bool:
        return any(isinstance(cause, types) and text in str(cause) for cause in causes)

    def told(text: str, todo: str) -> HubError:
        return HubError(text, where=where, todo=todo)

    if has(errors.GatedRepoError) or has(DatasetNotFoundError, text="is a gated dataset"):
        return told(f"the {what} {name!r} is gated", f"Ask for access at {page}, then run 'hf auth login'.")
    if has(errors.RevisionNotFoundError):
        return told(
            f"the {what} {name!r} has no revision {revision!r}", f"Its revisions are listed at {page}"
        )
    if has(errors.RepositoryNotFoundError, DatasetNotFoundError):
        return told(
            f"the Hub has no {what} {name!r}, or it is private",
            f"Check the spelling; for a private one run 'hf auth login'.{hint}",
        )
    if not is_reachable() and has(OSError):
        at = f" at revision {revision}" if revision else ""
        is_wanted = constants.is_offline_mode()
        reason = "HF_HUB_OFFLINE is set" if is_wanted else f"{constants.ENDPOINT} cannot be reached"
        retry = "Check the network (HF_HUB_OFFLINE=1 does not try it)"
        first = "Unset HF_HUB_OFFLINE to fetch it" if is_wanted else retry
        return told(
            f"{reason}, and the cache {constants.HF_HUB_CACHE} has no (whole) {what} {name!r}{at}",
            f"{first}, or give a local path.{hint}",
        )
    answers = [cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)]
    if answers and all(isinstance(cause, errors.EntryNotFoundError) for cause in answers):
        return None  # the repository is there, a file in it is not: whoever wanted it knows what that means
    is_ill = answers or has(errors.LocalEntryNotFoundError)
    if is_ill or any(is_of_network(cause) or _is_of_xet(cause) for cause in causes):
        reason = str(error) or type(error).__name__
        return told(f"reading the {what} {name!r} from the Hub failed: {reason}", "Try again later.")
    return None


def is_of_network(error: BaseException) -> bool:
    """Whether an exception tells of the connection; the client does not wrap those of its HTTP library."""
    is_of_client = type(error).__module__.partition(".")[0] in ("httpx2", "httpcore2", "httpx", "httpcore")
    return is_of_client or isinstance(error, ConnectionError | TimeoutError)


def _is_of_xet(error: BaseException) -> bool:
    """Whether hf_xet could not fetch a file: it is no Python, and what it raises are built-in exceptions."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_name == "xet_get"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
