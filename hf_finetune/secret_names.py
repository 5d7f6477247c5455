"""Which names have a secret beside them: keys of settings, parameters of a URL, environment variables."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["NAME_ENDS", "is_secret", "is_secret_query", "is_secret_variable"]

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_PASSWORDS = {"password", "passwd", "passphrase", "passcode", "pwd"}
_NOT_PASSWORDS = {"file", "path", "field", "column", "length", "policy", "prompt"}
_SECRETS = {
    "apikey", "accesskey", "secretkey", "privatekey", "authkey", "accountkey", "sharedkey", "sharedaccesskey",
    "authtoken", "accesstoken", "bearertoken", "sastoken", "hubtoken", "secret", "secrets", "clientsecret",
    "credential", "credentials", "authorization", "auth", "bearer", "cookie", "jwt", "sas",
    "connectionstring", "accesskeyid", "awsaccesskeyid",
}  # fmt: skip
_KEY_OWNERS = {
    "access", "account", "admin", "api", "app", "auth", "client", "comet", "consumer", "deploy", "encryption",
    "master", "private", "secret", "service", "session", "shared", "signing", "ssh", "subscription", "wandb",
}  # fmt: skip
_SHORT_PASSWORDS = {"pass", "pat", "pw", "otp"}
_PASSWORD_OWNERS = {"admin", "db", "github", "gitlab", "hf", "my", "proxy", "root", "smtp", "user"}
_TOKEN_OWNERS = {"access", "api", "auth", "bearer", "hf", "hub", "refresh", "session"}
"""Whose `tokens` are secrets; those of others are of a text: `special_tokens`, `max_new_tokens`."""
_SPECIAL_TOKENS = {
    "additional", "audio", "begin", "beginning", "blank", "boa", "boi", "bos", "boundary", "by", "class",
    "cls", "delimiter", "each", "end", "eoa", "eoi", "eos", "extra", "first", "id", "image", "lang",
    "language", "last", "mask", "multi", "newline", "next", "no", "number", "of", "or", "pad", "padding",
    "per", "prefix", "prompt", "sep", "separator", "silence", "single", "space", "special", "speech", "start",
    "stop", "suffix", "task", "text", "timestamp", "timestamps", "to", "unk", "unknown", "video", "vision",
    "word",
}  # fmt: skip
"""What is a token of a text: `pad_token`, `end_of_word_token`."""

NAME_ENDS = (
    r"tokens?|keys|key(?:[\s_-]?id)?|passw(?:or)?d\d*|passphrase|passcode|pwd|secrets?|credentials?|authorization|auth"
    r"|bearer|cookie|jwt|sas|connection_?string|signature|sig"
)
"""How every such name ends, as a regular expression; most names that end so are harmless."""

_VARIABLE = re.compile(
    r"(TOKEN|SECRETS?|PASSW(OR)?D|PASSPHRASE|CREDENTIALS?|CONN(ECTION)?_?STR(ING)?|API_?KEY|ACCESS_?KEY(_?ID)?"
    r"|PRIVATE_?KEY|SECRET_?KEY|ACCOUNT_?KEY|AUTH_?KEY|_SAS|_PWD|_AUTH|_JWT)(_?\d+)?$|PASSW(OR)?D(?!_?(FILE|PATH))"
    r"|SECRET(?!_?(FILE|PATH|NAME))",
    re.IGNORECASE,
)
_MAYBE_VARIABLE = re.compile(r"(^|_)(KEY|DSN)$", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Tell whether a key's value must not be shown or stored.

    Args:
        key: Dotted; its last part counts. In any spelling: `api_key`, `apiKey`, `X-Api-Key`.

    Example:
        >>> [is_secret(key) for key in ("training.hub_token", "secretAccessKey", "pad_token", "key")]
        [True, True, False, False]
    """
    words = [word.lower() for word in _WORDS.findall(key.rpartition(".")[2])]
    while words and words[-1].isdecimal():
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _SECRETS or "".join(words) in _SECRETS or "".join(words[-2:]) in _SECRETS:
        return True
    if _PASSWORDS & set(words):
        return last not in _NOT_PASSWORDS
    if last in _SHORT_PASSWORDS:
        return not before or before in _PASSWORD_OWNERS
    if last == "token":
        return before not in _SPECIAL_TOKENS
    if last == "tokens":
        return before in _TOKEN_OWNERS
    if last in ("key", "keys"):
        return before in _KEY_OWNERS
    if words[-3:] == ["access", "key", "id"]:
        return True
    return last == "signature" and bool({"amz", "goog"} & set(words))


def is_secret_query(name: str) -> bool:
    """Tell whether a parameter of a URL holds a secret; there `key`, `sig` and `signature` do, too."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return is_secret(name) or (bool(words) and words[-1] in ("key", "sig", "signature"))


@lru_cache(maxsize=4096)
def is_secret_variable(name: str) -> bool | None:
    """Tell whether an environment variable holds a secret: True, or False for one that may; else None."""
    if name in ("PWD", "OLDPWD"):
        return None
    return True if _VARIABLE.search(name) else False if _MAYBE_VARIABLE.search(name) else None
