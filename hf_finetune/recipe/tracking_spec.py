"""The section of a recipe that says where a run is followed."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool

from hf_finetune.recipe.specs import Spec, Text

__all__ = ["CometSpec", "TrackingSpec"]


class CometSpec(Spec):
    """One experiment of Comet for this run; the same one when it is resumed."""

    project: Text | None = None
    """Project the experiment belongs to; Comet's default when left out."""

    workspace: Text | None = None
    """Workspace of the project; your own when left out."""

    name: Text | None = None
    """Name of the experiment; training.run_name or the name of the run folder when left out."""

    mode: Literal["online", "offline"] = "online"
    """online needs COMET_API_KEY; offline neither key nor network: it writes an archive to upload later."""

    tags: tuple[Text, ...] = ()
    """Words to find the experiment by."""

    collect: tuple[Literal["code", "git", "host", "output", "packages"], ...] = ()
    """What else goes along: files of imports, git state, host and user, terminal, packages."""

    log_model: StrictBool = True
    """Keep a copy of the best model with the experiment."""


class TrackingSpec(Spec):
    """Where the run is followed; TensorBoard, W&B, MLflow and trackio are named in training.report_to."""

    comet: CometSpec | None = None
    """Settings of Comet: project, workspace, name, mode (online or offline), tags."""
