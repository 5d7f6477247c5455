"""One redaction in front of everything that is shown, logged, kept or passed on.

It knows a secret in three ways: by what an environment variable like COMET_API_KEY holds, by its form (the
password in a URL, a bearer token, a token of the Hub), and by the name beside it (`secretAccessKey: ...`,
`?sig=...`). It is a function of its input and the environment alone: what was redacted twice is the same.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from hf_finetune.secret_forms import HIDDEN, SHORTEST, find_credential, hide_forms, is_harmless
from hf_finetune.secret_names import is_secret, is_secret_variable

__all__ = [
    "CONTROL",
    "HIDDEN",
    "HidingFormatter",
    "escape_controls",
    "escape_surrogates",
    "find_credential",
    "hide_in",
    "hide_secrets",
    "is_harmless",
    "is_secret",
]

SURE = 20
"""A value of a variable like SORT_KEY is taken for a key when it is this long, or has letters and digits."""

_DATA_URI = re.compile(r"(data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Those that are neither a tab nor the end of a line."""


def hide_secrets(text: str) -> str:
    r"""Return text without secrets.

    Example:
        >>> hide_secrets("hub_token: abc\npad_token: x")
        'hub_token: (hidden)\npad_token: x'
        >>> hide_secrets("https://bob:pw@host/x?sig=abc&v=1")
        'https://(hidden)@host/x?sig=(hidden)&v=1'
    """
    if not text or text.isspace():
        return text
    for value in _list_values():
        if value in text:
            text = text.replace(value, HIDDEN)
    # a picture has no names in it, and may be as long as a book
    parts = _DATA_URI.split(text)
    return "".join(part if i % 2 else hide_forms(part) for i, part in enumerate(parts))


def hide_in(value: Any, *, is_under_secret: bool = False) -> Any:
    """Return plain data without secrets: text, and text below a key such as `password`; numbers stay.

    Example:
        >>> hide_in({"secretAccessKey": "abc", "command": ["run", "hub.token=a b"], "pad_token": "x"})
        {'secretAccessKey': '(hidden)', 'command': ['run', 'hub.token=(hidden)'], 'pad_token': 'x'}
    """
    if isinstance(value, Mapping):
        return {
            hide_secrets(key) if isinstance(key, str) else key: hide_in(
                item, is_under_secret=is_under_secret or is_secret(str(key))
            )
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        items = list(value)
        flags = [False, *(isinstance(item, str) and item[:1] == "-" and is_secret(item) for item in items)]
        hidden = [
            hide_in(item, is_under_secret=is_under_secret or flag)
            for item, flag in zip(items, flags, strict=False)
        ]
        return tuple(hidden) if isinstance(value, tuple) else hidden
    if not isinstance(value, str):
        return value
    if is_under_secret:
        return value if is_harmless(value) else HIDDEN
    name, equals, rest = value.partition("=")
    if equals and rest and re.fullmatch(r"[\w.-]+", name) and is_secret(name):
        return f"{name}={HIDDEN}"
    return hide_secrets(value)


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Write control characters, and bytes that are no text, as `\x1b`: for names that come from anywhere.

    Args:
        text: Of a name, or of a message with names in it.
        keep: Characters that stay, such as the ends of lines.

    Example:
        >>> escape_controls("red\x1b[31m\n"), escape_controls("a\nb\0", keep="\n\t")
        ('red\\x1b[31m\\x0a', 'a\nb\\x00')
    """

    def write(match: re.Match[str]) -> str:
        code = ord(match[0])  # Python keeps byte b of a file name as U+DC00 + b
        if match[0] in keep:
            return match[0]
        return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"

    return _CONTROL.sub(write, text)


def escape_surrogates(text: str) -> str:
    """Write bytes of a file name that are no text as they are shown; the rest stays."""
    return text if text.isprintable() else re.sub("[\ud800-\udfff]+", lambda m: escape_controls(m[0]), text)


class HidingFormatter(logging.Formatter):
    """A format whose lines have no secret in them, also not in what a server or a library has said.

    Nor has it any control characters, such as a file's name may have to take over a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return escape_controls(hide_secrets(super().format(record)), keep="\n\t")


def _list_values() -> list[str]:
    """Return the secrets of this process's environment in all they may look like; the longest first."""
    found = {
        form
        for name, value in os.environ.items()
        if is_secret_variable(name) is not None
        for form in _list_forms(value, bool(is_secret_variable(name)))
    }
    return sorted(found, key=len, reverse=True)


@lru_cache(maxsize=256)
def _list_forms(value: str, is_sure: bool) -> tuple[str, ...]:
    return tuple(_write_forms(value, is_sure))


def _write_forms(value: str, is_sure: bool) -> Iterator[str]:
    for part in {value.strip(), *map(str.strip, value.splitlines())}:
        has_both = re.search(r"[A-Za-z]", part) and re.search(r"\d", part)
        is_path = os.path.isabs(part) and os.path.exists(part)
        if len(part) < SHORTEST or is_path or not (is_sure or has_both or len(part) >= SURE):
            continue
        yield from {
            part,
            json.dumps(part)[1:-1],
            json.dumps(part, ensure_ascii=False)[1:-1],
            repr(part)[1:-1],
            part.replace("'", "''"),
            html.escape(part),
            str(html.escape(part)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
            quote(part),
            quote(part, safe=""),
            quote_plus(part),
        }
