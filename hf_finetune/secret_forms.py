"""Secrets that a text gives away by their form, or by the name beside them."""

from __future__ import annotations

import re

from hf_finetune.secret_names import NAME_ENDS, is_secret, is_secret_query

__all__ = ["HIDDEN", "SHORTEST", "find_credential", "hide_forms", "is_harmless"]

HIDDEN = "(hidden)"
SHORTEST = 8
"""A value shorter than this is no key, and may be a part of any word."""
MAX_NAME = 64
MAX_LOOK = 200
"""So far is looked back for the beginning of a line: a page may be one line."""

_USERINFO = re.compile(
    r"""(?P<start>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*:\\?/\\?/)
    (?P<info>[^\s/?\#"<>`\\]*(?=@)        # all of it before the first slash, as it should be
    |[^\s/?\#@:"<>`\\]*:(?!\d{1,5}[/?\#])[^\s"<>`]{1,500}(?=@))@  # or a password with a slash in it""",
    re.IGNORECASE | re.VERBOSE,
)
_ENCODED_USERINFO = re.compile(r"(?<=%3A%2F%2F)[^\s&\"'<>%]*%3A[^\s&\"'<>]*?(?=%40)", re.IGNORECASE)
_ENCODED_QUERY = re.compile(
    r"(?<=%3F|%26|%3B)(?P<name>[\w.-]+)(?P<sep>%3D)(?P<value>[\w.~+-]+|%(?!26|23)..)+", re.I
)
_SCHEME = re.compile(
    r"\b(?P<scheme>Bearer|Basic)(?P<gap>\s+|%20|\+)(?P<value>[\w.~+/=%-]{8,})", re.IGNORECASE
)
_FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|sk-(?=[\w-]*\d)[\w-]{20,}|xox[abprs]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16}\b|AIza[\w-]{35}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_QUOTE = r"""\\*["']|&quot;|&\#3[49];"""
_NAMED = re.compile(
    rf"""(?P<end>{NAME_ENDS})(?P<close>{_QUOTE}|)(?P<sep>[ \t]*:[ \t]+|[ \t]*:(?=["'&\\])|[ \t]*=[ \t]*)""",
    re.IGNORECASE | re.VERBOSE,
)
_BEGINS_LINE = re.compile(r"[\s\-\[{,\"'\\]*")
_HARMLESS = re.compile(
    r"""null|~|true|false|None|True|False|\*+:?|<[\w|/ -]*>|\[[A-Z_]+\]|\$\{?\w+\}?|["']{2}|"""
    # what was redacted, and what we say of a key that has a secret
    r"\(hidden\).*|a secret does not belong .*|"
)


def hide_forms(text: str) -> str:
    """Return text without passwords of URLs, tokens, and values of names like `apiKey`."""
    text = _USERINFO.sub(lambda m: f"{m['start']}{HIDDEN}@" if _is_login(m) else m[0], text)
    text = _ENCODED_USERINFO.sub(HIDDEN, text)
    text = _ENCODED_QUERY.sub(
        lambda m: f"{m['name']}{m['sep']}{HIDDEN}" if is_secret_query(m["name"]) else m[0], text
    )
    text = _hide_named(_FORMS.sub(HIDDEN, text))
    return _SCHEME.sub(
        lambda m: f"{m['scheme']}{m['gap']}{HIDDEN}" if _is_credential(m["value"]) else m[0], text
    )


def _is_login(match: re.Match[str]) -> bool:
    """Whether it is more than a name: `git@`, or the container in the addresses of Azure."""
    info = match["info"]
    name, colon, password = info.partition(":")
    if HIDDEN in info:
        return False
    return bool(password) if colon else bool(name) and match["start"].lower().startswith("http")


def _is_credential(value: str) -> bool:
    """Whether what follows `Bearer` or `Basic` is no word of a sentence."""
    return not re.fullmatch(r"[A-Za-z]?[a-z]{,15}[.:,]?", value)


def _hide_named(text: str) -> str:
    """Hide what has a name such as `token` before it, in YAML, JSON, Python, HTML, a URL or a shell."""
    pieces: list[str] = []
    done = 0
    for match in _NAMED.finditer(text):
        start = match.start()
        if start < done:
            continue
        first = start
        while (
            first > done
            and start - first < MAX_NAME
            and (text[first - 1].isalnum() or text[first - 1] in "_.-")
        ):
            first -= 1
        if start - first >= MAX_NAME:  # no name, but a piece of something encoded
            continue
        name, before = text[first:start] + match["end"], text[first - 1 : first]
        if before == "\\" and name.startswith("u0026"):  # JSON in HTML
            name, before = name[5:], "&"
        span = _find_value(text, match, name.lstrip("-"), before, first)
        if span is not None and not is_harmless(text[slice(*span)].rstrip()):
            pieces += [text[done : span[0]], HIDDEN]
            done = span[1]
    return "".join([*pieces, text[done:]])


def _find_value(
    text: str, match: re.Match[str], name: str, before: str, first: int
) -> tuple[int, int] | None:
    """Return where the value of a name begins and ends; None when the name or its place is harmless."""
    at = match.end()
    is_assigned = "=" in match["sep"]
    if is_assigned and before in ("?", "&", ";", "#") and before:
        end = re.compile(r"[^\s&#\"'<>`\\]*").match(text, at)
        return (at, end.end()) if end and is_secret_query(name) else None
    if not is_secret(name):
        return None
    line_start = max(first - MAX_LOOK, 0)
    line = text[max(text.rfind("\n", line_start, first) + 1, line_start) : first]
    begins_line = _BEGINS_LINE.fullmatch(line) is not None
    is_quoted_name = bool(match["close"])
    begins_line = begins_line and "." not in name  # as messages name a key: `data.options.token: ...`
    is_inside = line.rstrip().endswith(("{", ",", "["))
    if not (is_assigned or begins_line or is_quoted_name or is_inside or _is_header(name)):
        return None  # a key in a message: `r.yaml:3:5: hub.token: a secret does not belong ...`
    opening = re.compile(_QUOTE, re.VERBOSE).match(text, at)
    if opening:
        return opening.end(), _find_end(text, opening.end(), opening[0])
    if text[at : at + 1] == "[":
        closing = re.compile(r"\[[^\]\n]*[\"'][^\]\n]*\]").match(text, at)
        return (at, closing.end()) if closing else None
    if text[at : at + 1] == "{":
        return None
    if is_assigned:
        pattern = r"[^\s&\"'<>`]*"
    elif is_inside or (is_quoted_name and not begins_line) or "{" in line:
        pattern = r"[^,}\]\n\"]*"
    else:
        pattern = r"[^\n\"<]*" if _is_header(name) and not begins_line else r"[^\n]*"
    end = re.compile(pattern).match(text, at)
    stop = end.end() if end else at
    value = text[at:stop].strip()
    if re.fullmatch(r"-?\d*\.\d+(e[+-]?\d+)?|-?\d+(\.\d*)?e[+-]?\d+|-?\d+\.", value):
        return None  # a probability or a score of a class that is called so: digits of a key have no point
    return None if re.fullmatch(r"-?[\d.]+", value) and len(value) < SHORTEST else (at, stop)


def _find_end(text: str, at: int, quote_mark: str) -> int:
    """Return where a quoted value ends; at the end of the line where nothing closes it."""
    if quote_mark == "'":
        pattern = r"(?:''|\\.|[^'\\\n])*"
    elif quote_mark == '"':
        pattern = r'(?:\\.|[^"\\\n])*'
    else:
        pattern = rf"(?:(?!{re.escape(quote_mark)})[^\n])*"
    found = re.compile(pattern).match(text, at)
    return found.end() if found else at


def _is_header(name: str) -> bool:
    return name.lower() in ("authorization", "cookie", "set-cookie") or "-" in name.strip("-")


def find_credential(text: str) -> str | None:
    """Say what secret a value has in it that nobody can take for anything else; None for none.

    What is left to redaction: signatures of URLs, which can be given in no other way.

    Example:
        >>> find_credential("https://bob:pw@host/x"), find_credential("abfss://container@account/x")
        ('a password in a URL', None)
    """
    if any(_is_login(match) for match in _USERINFO.finditer(text)):
        return "a password in a URL"
    if any(_is_credential(match["value"]) for match in _SCHEME.finditer(text)):
        return "the value of an Authorization header"
    return "a token or a private key" if _FORMS.search(text) else None


def is_harmless(value: str) -> bool:
    """Whether a value stands for nothing, for a secret elsewhere, or for a token of a text: `<pad>`."""
    return _HARMLESS.fullmatch(value) is not None
