"""Optimizer and schedule, from `TrainingArguments`; the same objects for both engines."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from transformers import Trainer, TrainingArguments, get_scheduler
from transformers.optimization import GreedyLR
from transformers.trainer_optimizer import is_optimizer_factory
from transformers.trainer_pt_utils import get_parameter_names

__all__ = [
    "build_optimizer",
    "build_scheduler",
    "current_rate",
    "explain_missing_optimizer",
    "explain_wrong_schedule",
    "is_metric_driven",
    "list_unread",
    "restore_optimizer",
    "set_mode",
]

NOT_DECAYED = (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")
"""Parameter names without weight decay (source: transformers 5.23, `Trainer.get_decay_parameter_names`)."""

SETTINGS = (
    "amsgrad",
    "betas",
    "centered",
    "dampening",
    "eps",
    "maximize",
    "momentum",
    "nesterov",
    "weight_decay",
)
"""Entries of a parameter group that are settings; schedule-free optimizers keep state there as well."""


def build_optimizer(model: nn.Module, args: TrainingArguments) -> torch.optim.Optimizer:
    """Build the optimizer that `args.optim` names; biases and norms are not decayed.

    Args:
        model: Its parameters with `requires_grad` are trained.
        args: `optim`, `optim_args`, `learning_rate`, `weight_decay`, `adam_*` are read.

    Source: transformers 5.23, `Trainer.create_optimizer`.
    """
    decayed = set(get_parameter_names(model, [nn.LayerNorm], list(NOT_DECAYED)))
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for name, parameter in trained if name in decayed],
            "weight_decay": args.weight_decay,
        },
        {"params": [parameter for name, parameter in trained if name not in decayed], "weight_decay": 0.0},
    ]
    kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
    if is_optimizer_factory(kind):
        return kind()(model, **options)  # type: ignore[no-any-return]
    # GaLore, LOMO and layer-wise optimizers bring their own idea of what to optimize
    target: Any = groups
    for name in ("params", "model", "optimizer_dict"):
        target = options.pop(name, target)
    return kind(target, **options)  # type: ignore[no-any-return]


def explain_missing_optimizer(args: TrainingArguments) -> str | None:
    """Return which package an optimizer needs that is not installed; None when there is nothing to say."""
    try:
        Trainer.get_optimizer_cls_and_kwargs(args, nn.Linear(1, 1))
    except (ImportError, ValueError) as error:
        text = str(error)
        return text if isinstance(error, ImportError) or "import" in text or "install" in text else None
    return None


def list_unread(args: TrainingArguments) -> list[str]:
    """Return what is said of the optimizer and its kind does not read: entries of `optim_args`, `adam_*`.

    Each is changed in turn: what is read changes what the optimizer is built with, or fails.
    """
    told = [entry.partition("=") for entry in (args.optim_args or "").replace(" ", "").split(",") if entry]
    unread = []
    for i, (name, _, value) in enumerate(told):
        others = [f"{key}={old}" for j, (key, _, old) in enumerate(told) if j != i]
        digits = value.replace(".", "", 1).replace("-", "").replace("e", "")
        probes = (
            [f"{float(value) / 2 + 0.125}", f"{int(float(value)) + 1}"]
            if digits.isdigit()
            else ["a", "true", "false"]
        )
        trials = [",".join([*others, f"{name}={probe}"]) for probe in probes]
        if all(_reads_the_same(args, optim_args=trial) for trial in trials):
            unread.append(f"optim_args: {name}")
    for name, usual in (("adam_beta1", 0.9), ("adam_beta2", 0.999), ("adam_epsilon", 1e-8)):
        value = getattr(args, name)
        if value != usual and _reads_the_same(args, **{name: value / 2 + 1e-3}):
            unread.append(name)
    return unread


def _reads_the_same(args: TrainingArguments, **changed: Any) -> bool:
    other = copy.copy(args)
    for name, value in changed.items():
        setattr(other, name, value)
    model = nn.Linear(1, 1)
    try:
        kinds = [Trainer.get_optimizer_cls_and_kwargs(given, model) for given in (args, other)]
    except Exception:  # whoever reads a value can stumble over it
        return False
    return repr(kinds[0]) == repr(kinds[1])


def explain_wrong_schedule(args: TrainingArguments) -> str | None:
    """Return why `lr_scheduler_kwargs` do not go with the schedule; None when they do."""
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    options = dict(args.lr_scheduler_kwargs or {})
    if name.startswith("constant") and options and not options.keys() & {"step_size", "milestones"}:
        return f"{name} reads none but step_size, milestones and gamma"
    try:
        build_scheduler(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=args.learning_rate), args, 100)
    except Exception as error:  # every way in which a schedule can stumble over its options
        return " ".join(str(error).split())
    return None


def build_scheduler(optimizer: Any, args: TrainingArguments, num_updates: int) -> Any:
    """Build the schedule that `args.lr_scheduler_type` names, over `num_updates` updates.

    Step schedules, which have no name there, are `constant` or `constant_with_warmup` with
    `lr_scheduler_kwargs: {step_size: 100, gamma: 0.1}` or `{milestones: [100, 200], gamma: 0.1}`: the rate is
    multiplied by gamma every 100 updates, or at updates 100 and 200.

    Raises:
        UserError: `lr_scheduler_kwargs` do not fit the schedule.
    """
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])  # schedules that go by a score do not keep it
    options = dict(args.lr_scheduler_kwargs or {})
    num_warmup = args.get_warmup_steps(num_updates)
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    if name.startswith("constant") and options.keys() & {"step_size", "milestones"}:
        return LambdaLR(optimizer, _Steps(num_warmup=num_warmup, **options))
    return get_scheduler(
        args.lr_scheduler_type,
        optimizer=optimizer,
        num_warmup_steps=num_warmup,
        num_training_steps=num_updates,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )


class _Steps:
    """The factor on the rate after so many updates: warm-up, then gamma for each step passed."""

    def __init__(
        self,
        *,
        num_warmup: int,
        step_size: int | None = None,
        milestones: Sequence[int] = (),
        gamma: float = 0.1,
    ) -> None:
        if not step_size and not milestones:
            raise ValueError("step_size is a number of updates of 1 or more")
        self.num_warmup, self.step_size, self.milestones, self.gamma = (
            num_warmup,
            step_size,
            milestones,
            gamma,
        )

    def __call__(self, num_updates: int) -> float:
        warm = min(1.0, num_updates / self.num_warmup) if self.num_warmup else 1.0
        passed = num_updates // self.step_size if self.step_size else 0
        passed += sum(num_updates >= milestone for milestone in self.milestones)
        return float(warm * self.gamma**passed)


def is_metric_driven(scheduler: Any) -> bool:
    """Return whether the schedule steps on an evaluation's score instead of on every update."""
    return isinstance(scheduler, (ReduceLROnPlateau, GreedyLR))


def current_rate(scheduler: Any) -> float:
    """Return the learning rate the next update uses (of the first parameter group)."""
    if is_metric_driven(scheduler):
        rate = scheduler.optimizer.param_groups[0]["lr"]
    else:
        rate = scheduler.get_last_lr()[0]
    return float(rate)


def set_mode(optimizer: Any, *, training: bool) -> None:
    """Tell an optimizer that keeps two sets of weights (schedule-free ones) which to show."""
    switch = getattr(optimizer, "train" if training else "eval", None)
    if callable(switch):
        switch()


def restore_optimizer(optimizer: Any, scheduler: Any, optimizer_state: Any, scheduler_state: Any) -> None:
    """Load the moments and the place in the schedule; settings that differ now are the new ones.

    With unchanged settings this is exactly `load_state_dict`, twice. A changed learning rate, length, weight
    decay, beta ... holds from the first update after it: `load_state_dict` alone would silently go on with
    the old values, and make one more update at the rate that the old schedule had in mind for it.

    Args:
        optimizer: As built for this run, with this run's settings in its groups.
        scheduler: As built for this run, over this run's length.
        optimizer_state: The saved `optimizer.state_dict()`.
        scheduler_state: The saved `scheduler.state_dict()`.

    Raises:
        ValueError: The groups do not match: other parameters are trained.
    """
    wanted: list[dict[str, Any]] = [dict(group) for group in optimizer.param_groups]
    saved: list[dict[str, Any]] = optimizer_state["param_groups"]
    if len(saved) != len(wanted):
        raise ValueError(f"{len(saved)} parameter groups instead of {len(wanted)}")
    base_rates = [float(group.get("initial_lr", group["lr"])) for group in wanted]
    # a plain Trainer's checkpoint of a plateau schedule does not know the rate it started from
    old_base_rates = [
        float(group.get("initial_lr", base)) for group, base in zip(saved, base_rates, strict=True)
    ]
    optimizer.load_state_dict(optimizer_state)
    if isinstance(scheduler, LambdaLR):
        # what a schedule is made of is this run's: only the place in it is the checkpoint's
        scheduler_state = {**scheduler_state, "lr_lambdas": [None] * len(wanted), "base_lrs": base_rates}
    scheduler.load_state_dict(scheduler_state)
    for group, settings, base in zip(optimizer.param_groups, wanted, base_rates, strict=True):
        group.update({name: settings[name] for name in SETTINGS if name in settings})
        group["initial_lr"] = base
    if isinstance(scheduler, LambdaLR):
        rates = [
            base * at(scheduler.last_epoch) for base, at in zip(base_rates, scheduler.lr_lambdas, strict=True)
        ]
    elif base_rates == old_base_rates:
        return
    else:  # a schedule that goes by a score: as far above or below the new rate as it was of the old
        now = zip(optimizer.param_groups, base_rates, old_base_rates, strict=True)
        rates = [group["lr"] * (new / old) if old else new for group, new, old in now]
        if hasattr(scheduler, "_init_lrs"):
            scheduler._init_lrs = base_rates
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
