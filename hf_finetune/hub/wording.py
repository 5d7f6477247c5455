"""What the Hub answers to a push -> what the user can do about it, without addresses that open doors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from hf_finetune.errors import HubError
from hf_finetune.hub.patience import find_status, is_passing

__all__ = ["explaining_push"]


@contextmanager
def explaining_push(repo_id: str, *, finish: str) -> Iterator[None]:
    """Do in this block what writes to a repository.

    Args:
        repo_id: Of the repository.
        finish: What to do when the cause is gone, as an imperative sentence.

    Raises:
        HubError: Instead of what the client raises, for whatever the Hub or the network did.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        reason = _explain(error, repo_id)
        if reason is None:
            raise
        raise HubError(f"{repo_id} was not pushed: {reason}", todo=finish) from error


def _explain(error: Exception, repo_id: str) -> str | None:
    status = find_status(error)
    said = _clean(str(getattr(error, "server_message", None) or ""))
    answers = {
        401: "the Hub does not accept the token (run 'hf auth login' or set HF_TOKEN)",
        402: "the account must pay for this, or is over its storage",
        403: f"the token may not write to {repo_id}",
        404: f"{repo_id} is not there, or the token may not see it",
        412: "others commit to it all the time",
        413: "a file is larger than the Hub takes",
        429: "the Hub asks for fewer requests",
    }
    if status is not None:
        told = answers.get(status) or (
            "the Hub is out of order" if status >= 500 else "the Hub refused a request"
        )
        return f"{told} (status {status}{f': {said}' if said else ''})"
    if is_passing(error):
        return f"the connection to the Hub failed ({type(error).__name__})"
    if _is_of_client(error):
        return f"{type(error).__name__}: {_clean(str(error))}"
    return None


def _is_of_client(error: Exception) -> bool:
    """Whether it comes from huggingface_hub, or from hf_xet, which raises built-in exceptions."""
    if type(error).__module__.startswith(("huggingface_hub", "hf_xet")):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    names = str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
    return names.startswith(("huggingface_hub", "hf_xet"))


def _clean(text: str) -> str:
    """Make it one line, without the query strings of signed addresses."""
    return re.sub(r"\?[^\s'\"]+", "", " ".join(text.split()))[:300]
