"""Reading from the Hub: fail fast without a network, and say what went wrong in the user's words.

The clients of datasets, transformers and huggingface_hub retry for up to a minute before they give up on a
dead network, then raise one of a dozen exceptions. Here the network is tried once, with a short limit; where
it is dead, what is in the cache is still used.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from hf_finetune.errors import HubError

__all__ = ["is_reachable", "list_cached", "reading_hub"]

logger = logging.getLogger(__name__)

PROBE_LIMIT_S = 4.0

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
        HubError: No network and nothing in the cache; no such repository or revision; no right to read it.
    """
    if Path(name).exists():
        yield
        return
    try:
        if is_reachable():
            yield
        else:
            with _offline():
                yield
    except HubError:
        raise
    except Exception as error:
        known = _explain(error, kind, name, revision, where)
        if known is None:
            raise
        raise known from error


@cache
def is_reachable() -> bool:
    """Try once per process, for a few seconds, whether the Hub answers. Offline mode is not tried."""
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_LIMIT_S)
    except (
        Exception
    ) as error:  # whichever HTTP library the client uses has its own; any answer at all is fine
        logger.warning(
            "%s cannot be reached (%s): only what is cached can be used", constants.ENDPOINT, error
        )
        return False
    return True


def list_cached(kind: Kind) -> list[str]:
    """List the ids of the repositories in the cache of the Hub client, sorted."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob(f"{kind}s--*")
    return sorted(folder.name.removeprefix(f"{kind}s--").replace("--", "/") for folder in folders)


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

    def has(*types: type[BaseException]) -> bool:
        return any(isinstance(cause, types) for cause in causes)

    what, at = (
        {"model": "checkpoint", "dataset": "data set"}[kind],
        f" at revision {revision}" if revision else "",
    )
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
    near = difflib.get_close_matches(name, list_cached(kind), n=3)
    hint = f" Cached here: {', '.join(near)}" if near else ""

    def told(text: str, todo: str) -> HubError:
        return HubError(text, where=where, todo=todo)

    if has(errors.GatedRepoError) or any("gated" in str(cause) for cause in causes):
        return told(f"the {what} {name!r} is gated", f"Ask for access at {page}, then run 'hf auth login'")
    if has(errors.RevisionNotFoundError):
        return told(
            f"the {what} {name!r} has no revision {revision!r}", f"The revisions are listed at {page}"
        )
    is_cut_off = constants.is_offline_mode() or not is_reachable()
    if is_cut_off and has(OSError, ValueError, errors.HFValidationError):
        reason = (
            "HF_HUB_OFFLINE is set"
            if constants.is_offline_mode()
            else f"{constants.ENDPOINT} cannot be reached"
        )
        return told(
            f"{reason}, and the {what} {name!r}{at} is not in the cache {constants.HF_HUB_CACHE}",
            f"Connect once to fetch it, unset HF_HUB_OFFLINE if that is set, or give a local path.{hint}",
        )
    if has(errors.RepositoryNotFoundError, DatasetNotFoundError):
        return told(
            f"the Hub has no {what} {name!r}, or it is private",
            f"Check the spelling; for a private one run 'hf auth login'.{hint}",
        )
    if has(errors.HfHubHTTPError, ConnectionError, errors.LocalEntryNotFoundError):
        return told(f"reading the {what} {name!r}{at} from the Hub failed: {error}", "Try again later")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
