"""The section of a recipe that says where the best model is pushed to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from hf_finetune.recipe.specs import Spec, Text

__all__ = ["HubSpec"]


class HubSpec(Spec):
    """Where the best model is pushed to, with its processor, card, scores, report and recipe."""

    repo_id: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = None
    """Repository on the Hub, as owner/name; nothing is pushed when left out."""

    private: StrictBool = True
    """Make a new repository private; one that is there stays as it is."""

    branch: Annotated[str, Field(pattern=r"^[^\s:?*\[\\^~]+$")] = "main"
    """Branch to push to; made when it is not there."""

    strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] = "end"
    """When: at the end; each new best, too; with checkpoint the last checkpoint, too; or all of them."""

    license: Text | None = None
    """License of the model for its card, as the Hub spells it, such as apache-2.0."""

    tags: tuple[Text, ...] = ()
    """Words to find the model by."""
