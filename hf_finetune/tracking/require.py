"""Which trackers a recipe names, and whether each can work here: known before data and model are loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from accelerate.utils import broadcast_object_list

from hf_finetune.errors import UserError
from hf_finetune.processes import is_first_process
from hf_finetune.recipe import Recipe
from hf_finetune.tracking.base import Session, Tracker

__all__ = ["list_trackers", "require_trackers", "start_tracker"]


class _Kind(NamedTuple):
    """How a tracker is made.

    Args:
        package: That must be importable.
        install: What pip calls it.
        module: In this package, with `start(session)`.
    """

    package: str
    install: str
    module: str


_KINDS = {
    "comet": _Kind("comet_ml", "comet_ml", "comet"),
    "tensorboard": _Kind("tensorboard", "hf-finetune[tensorboard]", "tensorboard"),
    "wandb": _Kind("wandb", "hf-finetune[wandb]", "wandb"),
    "mlflow": _Kind("mlflow", "hf-finetune[mlflow]", "mlflow"),
    "trackio": _Kind("trackio", "hf-finetune[trackio]", "trackio"),
}


def list_trackers(recipe: Recipe) -> list[str]:
    """Return the names of a recipe's trackers, Comet first."""
    named = recipe.training.get("report_to") or []
    others = [named] if isinstance(named, str) else list(named)
    comet = ["comet"] if recipe.tracking.comet is not None else []
    return [*comet, *(name for name in dict.fromkeys(others) if name != "none")]


def require_trackers(recipe: Recipe) -> None:
    """Check that every tracker of a recipe can work. Called by all processes, once they are connected.

    Raises:
        UserError: A package is missing, a key is missing or wrong, or there is no network.
    """
    names = list_trackers(recipe)
    if not names:
        return
    problem: UserError | None = None
    if is_first_process():
        try:
            for name in names:
                _require(name, recipe)
        except UserError as error:
            problem = error
    problem = broadcast_object_list([problem])[0]
    if problem is not None:
        raise problem


def _require(name: str, recipe: Recipe) -> None:
    key = "tracking.comet" if name == "comet" else "training.report_to"
    kind = _KINDS.get(name)
    if kind is None:
        import_module("hf_finetune.tracking.others").require(name, where=recipe.where(key))
        return
    if importlib.util.find_spec(kind.package) is None:
        raise UserError(
            f"{key}: the package {kind.package} is not installed",
            where=recipe.where(key),
            todo=f"Run `pip install '{kind.install}'`, or leave {name} out.",
        )
    require: Callable[[Recipe], None] | None = getattr(_module(kind), "require", None)
    if require is not None:
        require(recipe)


def start_tracker(name: str, session: Session) -> Tracker:
    """Begin the experiment, or go on with it.

    Raises:
        UserError: The service does not take it.
    """
    kind = _KINDS.get(name)
    if kind is None:
        tracker: Tracker = import_module("hf_finetune.tracking.others").start(name)
    else:
        tracker = _module(kind).start(session)
    return tracker


def _module(kind: _Kind) -> Any:
    return import_module(f"hf_finetune.tracking.{kind.module}")
