"""May this token write there? Asked before training, not after hours of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from hf_finetune.errors import HubError
from hf_finetune.hub.patience import find_status, patiently
from hf_finetune.hub.wording import explaining_push

__all__ = ["Target", "require_rights"]

logger = logging.getLogger(__name__)

LOG_IN = "Run 'hf auth login', or set HF_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where to push.

    Args:
        repo_id: `owner/name`; the name alone is in the token's own namespace.
        private: Whether a new repository is private.
        branch: Made when it is not there.
        where: `file:line:column` of the id in the recipe, for messages.
        later: What to do when it is of no use now, as an imperative sentence.
    """

    repo_id: str
    private: bool = True
    branch: str = "main"
    where: str | None = None
    later: str = "Then push again."


def require_rights(target: Target, *, create: bool = True) -> str:
    """Make sure that a push will be let in.

    Args:
        target: Where to.
        create: Make the repository, empty, when it is not there; the surest way to know.

    Returns:
        The id with its owner.

    Raises:
        HubError: No token, a token that only reads, somebody else's namespace, or no Hub.
    """
    from huggingface_hub import HfApi, constants, get_token

    def refuse(what: str, todo: str) -> HubError:
        return HubError(what, where=target.where, todo=f"{todo}. {target.later}")

    if constants.is_offline_mode():
        raise refuse(f"HF_HUB_OFFLINE is set, and {target.repo_id} is to be pushed to", "Unset it")
    if get_token() is None:
        raise refuse(f"there is no token to push to {target.repo_id} with", LOG_IN)
    api = HfApi()
    with explaining_push(target.repo_id, finish=target.later):
        try:
            user = patiently(api.whoami, what="asking the Hub who we are")
        except Exception as error:
            if find_status(error) != 401:
                raise
            raise refuse("the Hub does not know the token (it may have been revoked)", LOG_IN) from None
        repo_id = target.repo_id if "/" in target.repo_id else f"{user['name']}/{target.repo_id}"
        namespace = repo_id.partition("/")[0]
        if user["auth"]["accessToken"].get("role") == "read":
            raise refuse(
                f"the token of {user['name']} only reads, and {repo_id} is to be pushed to",
                f"Make one that writes at {constants.ENDPOINT}/settings/tokens and log in with it",
            )
        known = [user["name"], *(org["name"] for org in user.get("orgs", []))]
        if namespace not in known:
            raise refuse(
                f"{user['name']} is not a member of {namespace!r}, and {repo_id} is to be pushed to",
                f"Push to one of: {', '.join(known)}",
            )
        if create:
            _require_writable(api, repo_id, target, refuse)
    return repo_id


def _require_writable(api: Any, repo_id: str, target: Target, refuse: Any) -> None:
    """Make the repository, or see whether the token may write to the one that is there."""
    try:
        patiently(
            lambda: api.create_repo(repo_id, private=target.private, exist_ok=True),
            what=f"creating {repo_id}",
        )
        patiently(lambda: api.auth_check(repo_id, write=True), what=f"asking for the rights to {repo_id}")
        info = patiently(lambda: api.repo_info(repo_id), what=f"looking at {repo_id}")
    except Exception as error:
        if find_status(error) not in (401, 403):
            raise
        raise refuse(
            f"the token may not write to {repo_id}", "Give it the right to write to repositories there"
        ) from None
    if target.private and not info.private:
        logger.warning("%s is public: everybody will see what is pushed there", repo_id)
