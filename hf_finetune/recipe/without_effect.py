"""What a recipe says and nothing reads, because of what it says elsewhere.

It is told, not refused: an override (`training.eval_strategy=no`) may well cause it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.training_combinations import own_defaults
from hf_finetune.recipe.training_fields import training_fields

__all__ = ["list_without_effect"]

_Get: TypeAlias = Callable[[str], Any]
_Rule: TypeAlias = tuple[Callable[[_Get], Any], str]


def _has_trackers(get: _Get) -> bool:
    return get("report_to") not in (None, "none", [], ["none"])


_UNREAD: dict[str, _Rule] = {
    # an argument that is given: when nothing reads it, and why not
    "eval_steps": (lambda get: get("eval_strategy") != "steps", "eval_strategy is {eval_strategy}"),
    "eval_delay": (lambda get: get("eval_strategy") == "no", "eval_strategy is no"),
    "save_steps": (lambda get: get("save_strategy") != "steps", "save_strategy is {save_strategy}"),
    "save_total_limit": (lambda get: get("save_strategy") == "no", "save_strategy is no"),
    "logging_steps": (
        lambda get: get("logging_strategy") != "steps",
        "logging_strategy is {logging_strategy}",
    ),
    "num_train_epochs": (lambda get: get("max_steps") > 0, "max_steps decides how long the run is"),
    "gradient_checkpointing_kwargs": (
        lambda get: not get("gradient_checkpointing") and not get("activation_checkpointing"),
        "gradient_checkpointing is false",
    ),
    "activation_checkpointing_kwargs": (
        lambda get: not get("activation_checkpointing") and not get("gradient_checkpointing"),
        "activation_checkpointing is false",
    ),
    "liger_kernel_config": (lambda get: not get("use_liger_kernel"), "use_liger_kernel is false"),
    "length_column_name": (
        lambda get: get("train_sampling_strategy") != "group_by_length",
        "train_sampling_strategy is {train_sampling_strategy}",
    ),
    "project": (lambda get: not _has_trackers(get), "report_to names no tracker"),
    **{
        f"trackio_{name}": (
            lambda get: "trackio" not in (get("report_to") or ()),
            "report_to does not name trackio",
        )
        for name in ("space_id", "bucket_id", "static_space_id")
    },
    "logging_nan_inf_filter": (
        lambda get: get("logging_nan_inf_filter"),
        "a loss that is not finite is always shown",
    ),
    "restore_callback_states_from_checkpoint": (
        lambda get: not get("restore_callback_states_from_checkpoint"),
        "callbacks always go on where they were",
    ),
}


def list_without_effect(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the keys that a recipe gives and a run of it does not read, each with the reason.

    Values at their defaults are passed over: a resolved recipe says them all.

    Args:
        recipe: As `load_recipe` returns it.
    """
    given, fields = recipe.training, training_fields()
    effective = {name: field.default for name, field in fields.items()} | own_defaults(given) | dict(given)
    for name in _UNREAD.keys() & given.keys():
        is_unread, why = _UNREAD[name]
        if given[name] not in (None, own_defaults({}).get(name)) and is_unread(effective.get):
            yield f"training.{name}", why.format_map(effective)
    data = recipe.data
    if data.splits.eval is not None and data.holdout != type(data).model_fields["holdout"].default:
        yield "data.holdout", "data.splits.eval names a split"
    for key, path, revision in (
        ("model.revision", recipe.model.checkpoint, recipe.model.revision),
        ("data.revision", data.path, data.revision),
    ):
        if revision is not None and Path(path).exists():
            yield key, f"{path} is a path, which has no revisions"
    if recipe.hub.repo_id is None and recipe.hub.strategy != "end":
        yield "hub.strategy", "nothing is pushed without hub.repo_id"
