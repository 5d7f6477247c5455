"""Values of `training:` that are right one by one and wrong together, as Trainer would find out later."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

from hf_finetune.recipe.names import NAMES
from hf_finetune.recipe.places import Finding
from hf_finetune.recipe.training_fields import training_fields
from hf_finetune.recipe.wording import find_near, list_words

__all__ = ["check_combinations", "own_defaults"]

_Get: TypeAlias = Callable[[str], Any]


_FOLLOWS = {"save_strategy": "eval_strategy", "save_steps": "eval_steps"}
"""What is like another value when it is not given."""


_BETTER = {
    **dict.fromkeys(("loss", "mae", "mse", "wer", "cer"), False),
    **dict.fromkeys(("accuracy", "f1", "precision", "recall", "roc_auc", "matthews_correlation", "r2"), True),
}
"""Which way the results of our own metrics are better; the others are asked when they are there."""


class _IsWrong(Exception):
    """A value is wrong already, so nothing follows from it."""


def own_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of a recipe that differ from those of transformers and decide what goes together.

    Args:
        values: Of `training:`.
    """
    evaluates = values.get("eval_strategy", "epoch")
    steps = values.get("eval_steps", 0.1)
    return {
        # without scores there is no best model to keep
        "eval_strategy": evaluates,
        "save_strategy": "epoch" if evaluates == "no" else evaluates,
        # what was evaluated is saved, or the best model would be gone; ten times a run unless said otherwise
        **({"eval_steps": steps, "save_steps": steps} if evaluates == "steps" else {}),
        # a hundred points on the curves, however short or long the run is
        "logging_steps": 0.01,
    }


def check_combinations(
    values: Mapping[str, Any], *, wrong: Collection[str], metrics: Collection[str] | None
) -> list[Finding]:
    """Return what does not go together.

    Args:
        values: Of `training:`.
        wrong: Keys whose values are wrong by themselves.
        metrics: Names of the recipe's metrics; None when they are not known.
    """
    fields = training_fields()
    effective = {name: field.default for name, field in fields.items()} | own_defaults(values) | dict(values)

    def get(name: str) -> Any:
        if name in wrong or (name not in values and _FOLLOWS.get(name) in wrong):
            raise _IsWrong
        return effective.get(name)

    checks: list[Iterator[Finding]] = [
        _best_model(get),
        _steps(get),
        _precision(get),
        _schedule(get),
        _optimizer(get),
        _workers(get),
        _metric(get, metrics),
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check)
        except _IsWrong:
            continue
    return findings


def _best_model(get: _Get) -> Iterator[Finding]:
    evaluates, saves = get("eval_strategy"), get("save_strategy")
    if evaluates == "no" and (get("load_best_model_at_end") or saves == "best"):
        key = "load_best_model_at_end" if get("load_best_model_at_end") else "save_strategy"
        what = "the best model cannot be known with eval_strategy: no"
        yield Finding((key,), what, "Write eval_strategy: epoch.")
    elif get("load_best_model_at_end") and saves not in ("best", evaluates):
        what = f"'{saves}' does not go with eval_strategy: {evaluates} when load_best_model_at_end is true"
        yield Finding(
            ("save_strategy",), what, f"Write save_strategy: {evaluates}, so that the best is saved."
        )


def _steps(get: _Get) -> Iterator[Finding]:
    is_by_steps = get("eval_strategy") == get("save_strategy") == "steps"
    if not is_by_steps or not get("load_best_model_at_end"):
        return
    evaluates, saves = get("eval_steps") or get("logging_steps"), get("save_steps")
    if (evaluates < 1) != (saves < 1):
        what = f"got {saves} with eval_steps {evaluates}: one is a share, the other a number of updates"
        yield Finding(("save_steps",), what, "Write both the same way; load_best_model_at_end needs it.")
    elif round(saves * 1_000_000) % round(evaluates * 1_000_000):
        what = f"got {saves}, expected a multiple of eval_steps ({evaluates}) for load_best_model_at_end"
        yield Finding(("save_steps",), what, f"Write save_steps: {evaluates}, so that the best is saved.")


def _precision(get: _Get) -> Iterator[Finding]:
    for suffix in ("", "_full_eval"):
        if get(f"fp16{suffix}") and get(f"bf16{suffix}"):
            what = f"fp16{suffix} and bf16{suffix} are both true"
            yield Finding((f"fp16{suffix}",), what, "Choose one; bf16 where the hardware has it.")


def _schedule(get: _Get) -> Iterator[Finding]:
    name, options = get("lr_scheduler_type"), get("lr_scheduler_kwargs") or {}
    if name in ("reduce_lr_on_plateau", "greedy") and get("eval_strategy") == "no":
        what = f"{name} follows the evaluations, and eval_strategy is no"
        yield Finding(("lr_scheduler_type",), what, "Write eval_strategy: epoch.")
    takes_none = {
        "constant": "Write lr_scheduler_type: constant_with_warmup.",
        "greedy": "",
        "reduce_lr_on_plateau": "",
    }
    is_by_steps = isinstance(options, dict) and options.keys() & {"step_size", "milestones"}
    if name in takes_none and get("warmup_steps") and not is_by_steps:
        what = f"{name} has no warm-up"
        yield Finding(("warmup_steps",), what, takes_none[name] or "Remove warmup_steps.")
    if not isinstance(options, dict):  # JSON text, which TrainingArguments reads itself
        return
    if name in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        if len({"min_lr", "min_lr_rate"} & set(options)) != 1:
            what = f"{name} needs either min_lr or min_lr_rate in lr_scheduler_kwargs"
            yield Finding(("lr_scheduler_type",), what, "Write lr_scheduler_kwargs: {min_lr_rate: 0.1}.")
    elif name == "warmup_stable_decay" and "num_decay_steps" not in options:
        what = f"{name} needs num_decay_steps in lr_scheduler_kwargs"
        yield Finding(("lr_scheduler_type",), what, "Write lr_scheduler_kwargs: {num_decay_steps: 100}.")


def _optimizer(get: _Get) -> Iterator[Finding]:
    name = str(get("optim"))
    if name.startswith(("galore", "apollo")) and get("optim_target_modules") is None:
        what = f"{name} needs optim_target_modules"
        yield Finding(("optim",), what, "Write optim_target_modules: all-linear.")


def _workers(get: _Get) -> Iterator[Finding]:
    if get("dataloader_num_workers"):
        return
    for name in ("prefetch_factor", "persistent_workers", "multiprocessing_context"):
        if get(f"dataloader_{name}"):
            what = "there are no worker processes (dataloader_num_workers is 0)"
            yield Finding((f"dataloader_{name}",), what, "Remove it, or write dataloader_num_workers: 2.")


def _metric(get: _Get, metrics: Collection[str] | None) -> Iterator[Finding]:
    given, told = get("metric_for_best_model"), get("greater_is_better")
    name = (given or next(iter(metrics or ()), "")).removeprefix("eval_")
    if told is not None and name in _BETTER and told != _BETTER[name]:
        better = "greater" if _BETTER[name] else "less"
        what = f"{str(told).lower()} would keep the worst model: {name} is better when it is {better}"
        yield Finding(("greater_is_better",), what, "Remove greater_is_better: the metric knows it.")
    if given is None or name == "loss":
        return
    if metrics is not None and not any(_can_be_called(name, known) for known in metrics):
        what = f"{given!r} is neither the loss nor one of this recipe's metrics ({list_words(metrics)})"
        near = find_near(name, metrics)
        is_ours = any(_can_be_called(name, known) for known in NAMES["metric"])
        rest = (
            "Add it to metrics."
            if is_ours
            else f"Name one of these, or loss; we have {list_words(NAMES['metric'])}."
        )
        todo = f"Did you mean '{near}'?" if near else rest
        yield Finding(("metric_for_best_model",), what, todo)


def _can_be_called(result: str, metric: str) -> bool:
    """Tell whether a metric may give that result, as f1 gives f1_macro and top_k_accuracy top_5_accuracy."""
    own = re.escape(metric.rpartition("/")[2].replace("-", "_"))
    pattern = re.sub(r"(?<=_)k(?=_|$)", r"\\d+", own)
    return re.search(rf"(^|_)({own}|{pattern})(_|$)", result) is not None
