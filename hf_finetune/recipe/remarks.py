"""What a recipe says and hardly means: what nothing reads beside other keys, and numbers far off.

It is told, not refused: an override (`training.eval_strategy=no`) may cause it, and rare things are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.training_combinations import own_defaults
from hf_finetune.recipe.training_fields import training_fields

__all__ = ["list_remarks"]

_Get: TypeAlias = Callable[[str], Any]
_USUAL = "1e-6 to 1e-2"
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


def list_remarks(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the keys that a recipe gives and hardly means, each with what is to be said of it.

    Args:
        recipe: As `load_recipe` returns it.
    """
    for key, why in _list_unread(recipe):
        yield key, f"has no effect: {why}"
    get = ({name: field.default for name, field in training_fields().items()} | recipe.training).get
    optimizer, rate, warmup = str(get("optim") or "AdamW"), get("learning_rate"), get("warmup_steps")
    high = 10.0 if optimizer.startswith(("sgd", "adagrad", "rmsprop")) else 0.1
    if rate == 0:
        yield "training.learning_rate", "is 0: nothing will be learned"
    elif rate is not None and rate > high:
        yield (
            "training.learning_rate",
            f"is {rate}: {optimizer} hardly ever learns above {high:g}; usual is {_USUAL}",
        )
    for name, low, usual in (
        ("weight_decay", 1, 0.01),
        ("label_smoothing_factor", 0.5, 0.1),
        ("adam_epsilon", 0.1, 1e-8),
    ):
        if (get(name) or 0) >= low:
            yield f"training.{name}", f"is {get(name)}: usual is {usual:g}"
    if warmup and 1 <= (get("max_steps") or 0) <= warmup:
        yield (
            "training.warmup_steps",
            f"is {warmup}, and the run has {get('max_steps')} updates: it never ends",
        )


def _list_unread(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield what a run does not read, with the reason; a resolved recipe says all defaults, too."""
    given, fields = recipe.training, training_fields()
    effective = {name: field.default for name, field in fields.items()} | own_defaults(given) | dict(given)
    for name in _UNREAD.keys() & given.keys():
        is_unread, why = _UNREAD[name]
        if given[name] not in (None, own_defaults({}).get(name)) and is_unread(effective.get):
            yield f"training.{name}", why.format_map(effective)
    data = recipe.data
    if data.splits.eval is not None and data.holdout != type(data).model_fields["holdout"].default:
        yield "data.holdout", "data.splits.eval names a split"
    if (
        recipe.loss is not None
        and "label_smoothing" in recipe.loss.options
        and given.get("label_smoothing_factor")
    ):
        yield "training.label_smoothing_factor", "loss.label_smoothing says it"
    for key, path, revision in (
        ("model.revision", recipe.model.checkpoint, recipe.model.revision),
        ("data.revision", data.path, data.revision),
    ):
        if revision is not None and Path(path).exists():
            yield key, f"{path} is a path, which has no revisions"
    if recipe.hub.repo_id is None and recipe.hub.strategy != "end":
        yield "hub.strategy", "nothing is pushed without hub.repo_id"
