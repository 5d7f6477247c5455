"""Keep secrets out of a page that is made to be passed on."""

from __future__ import annotations

import re

__all__ = ["hide_secrets"]

_SECRET_KEY = re.compile(
    r"""^(?P<key>[\s\-{"']*(?:hub_token|push_to_hub_token|token|api_key|password|secret)["']?\s*:\s*)(?P<value>\S.*)$""",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b")
_HARMLESS = {"null", "~", "true", "false", "''", '""', "<HUB_TOKEN>", "<PUSH_TO_HUB_TOKEN>"}


def hide_secrets(text: str) -> str:
    r"""Replace the values of keys like `hub_token`, and whatever looks like a token of the Hub.

    Example:
        >>> hide_secrets("hub_token: abc\npad_token: x")
        'hub_token: (hidden)\npad_token: x'
    """

    def hide(match: re.Match[str]) -> str:
        value = match["value"].rstrip()
        return match[0] if value in _HARMLESS else f"{match['key']}(hidden)"

    return _SECRET_VALUE.sub("(hidden)", _SECRET_KEY.sub(hide, text))
