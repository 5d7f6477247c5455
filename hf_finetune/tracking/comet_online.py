"""May this machine log to Comet? Found out within seconds, before training."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from ssl import SSLError
from urllib.parse import urljoin

from comet_ml.config import get_api_key, get_backend_address, get_config

from hf_finetune.errors import UserError

__all__ = ["ADVICE", "require_access"]

ADVICE = "Or write tracking.comet.mode: offline, which needs neither key nor network."
TIMEOUT_S = 8.0


def require_access(where: str) -> None:
    """Ask Comet who the key belongs to. comet_ml itself would try for half a minute and then train unlogged.

    Args:
        where: `tracking.comet` in the recipe, for the message.

    Raises:
        UserError: There is no key, Comet does not know it, or cannot be reached.
    """
    key = get_api_key(None, get_config())
    if not key:
        raise UserError(
            "tracking.comet: there is no API key for Comet",
            where=where,
            todo=f"Set the environment variable COMET_API_KEY, or run `comet login`. {ADVICE}",
        )
    address = urljoin(get_backend_address(), "/api/rest/v2/account-details")
    answer: list[str] = []
    # in a thread, because looking up a name has no time limit
    thread = threading.Thread(target=lambda: answer.append(_ask(address, key)), daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    problem = answer[0] if answer else f"no answer within {TIMEOUT_S:g} s"
    if problem == "unauthorized":
        raise UserError(
            f"tracking.comet: Comet does not know this API key (asked {address})",
            where=where,
            todo=f"Set COMET_API_KEY to the one of your account settings. {ADVICE}",
        )
    if problem:
        raise UserError(
            f"tracking.comet: Comet cannot be reached at {address}: {problem}",
            where=where,
            todo=f"See that there is a network. {ADVICE}",
        )


def _ask(address: str, key: str) -> str:
    """Return what is wrong; nothing when the key is taken or Comet itself will know better."""
    request = urllib.request.Request(address, headers={"Authorization": key})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return "unauthorized"
        return f"HTTP status {error.code}" if error.code >= 500 else ""
    except urllib.error.URLError as error:
        # whether a certificate of one's own will do is a setting of comet_ml
        return "" if isinstance(error.reason, SSLError) else str(error.reason)
    except OSError as error:
        return str(error)
