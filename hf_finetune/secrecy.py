"""Keep secrets out of all that is shown, logged, or made to be passed on."""

from __future__ import annotations

import logging
import os
import re

__all__ = ["HidingFormatter", "hide_secrets"]

HIDDEN = "(hidden)"
SHORTEST = 8
"""A value shorter than this is no key, and may be a part of any word."""

_SECRET_KEY = re.compile(
    r"""^(?P<key>[\s\-{"']*(?:hub_token|push_to_hub_token|token|api_key|password|secret)["']?\s*:\s*)(?P<value>\S.*)$""",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b")
_SECRET_VARIABLE = re.compile(r"(TOKEN|API_?KEY|ACCESS_KEY|PASSWORD|SECRET)$", re.IGNORECASE)
_HARMLESS = {"null", "~", "true", "false", "''", '""', "<HUB_TOKEN>", "<PUSH_TO_HUB_TOKEN>"}


def hide_secrets(text: str) -> str:
    r"""Hide keys like `hub_token`, tokens of the Hub, and what environment variables like COMET_API_KEY hold.

    Example:
        >>> hide_secrets("hub_token: abc\npad_token: x")
        'hub_token: (hidden)\npad_token: x'
    """

    def hide(match: re.Match[str]) -> str:
        value = match["value"].rstrip()
        return match[0] if value in _HARMLESS else f"{match['key']}{HIDDEN}"

    for value in _list_values():
        text = text.replace(value, HIDDEN)
    return _SECRET_VALUE.sub(HIDDEN, _SECRET_KEY.sub(hide, text))


def _list_values() -> list[str]:
    """Return the secrets of this process's environment; the longest first, for one may hold another."""
    found = {
        value
        for name, value in os.environ.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= SHORTEST
    }
    return sorted(found, key=len, reverse=True)


class HidingFormatter(logging.Formatter):
    """A format whose lines have no secret in them, also not in what a server or a library has said."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return hide_secrets(super().format(record))
