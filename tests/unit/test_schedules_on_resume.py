"""The rate of every update after a resume is the one that this run's schedule has for it."""

from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from hf_finetune.optim import (
    build_optimizer,
    build_scheduler,
    current_rate,
    is_metric_driven,
    restore_optimizer,
)

BY_STEP: dict[str, dict[str, Any]] = {
    "linear": {},
    "cosine": {"warmup_steps": 0.2},
    "cosine_with_restarts": {"lr_scheduler_kwargs": {"num_cycles": 2}},
    "polynomial": {"warmup_steps": 3, "lr_scheduler_kwargs": {"power": 2.0}},
    "constant": {},
    "constant_with_warmup": {"warmup_steps": 0.5},
    "inverse_sqrt": {"warmup_steps": 4},
    "cosine_with_min_lr": {"lr_scheduler_kwargs": {"min_lr": 1e-4}},
    "cosine_warmup_with_min_lr": {"warmup_steps": 0.25, "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    "warmup_stable_decay": {"warmup_steps": 2, "lr_scheduler_kwargs": {"num_decay_steps": 5}},
    "step": {"warmup_steps": 0.5, "lr_scheduler_kwargs": {"step_size": 5, "gamma": 0.5}},
}
BY_SCORE = {"reduce_lr_on_plateau": {"patience": 0}, "greedy": {"patience": 0, "min_lr": 1e-6}}
SCORES = [1.0, 0.9, 0.8, 0.85, 0.9, 0.7, 0.75, 0.8, 0.85, 0.9, 0.6, 0.65] * 4


class Run:
    """Updates without a model: an optimizer and its schedule."""

    def __init__(self, kind: str, num_updates: int, rate: float = 2e-3, **settings: Any) -> None:
        name = "constant_with_warmup" if kind == "step" else kind
        args = TrainingArguments(
            lr_scheduler_type=name, learning_rate=rate, use_cpu=True, eval_strategy="epoch", **settings
        )
        torch.manual_seed(0)
        self.optimizer = build_optimizer(torch.nn.Linear(2, 1), args)
        self.scheduler = build_scheduler(self.optimizer, args, num_updates)
        self.num_done = 0

    def train(self, until: int) -> list[float]:
        """Return the rate that each update was made with: that said, and that in each group."""
        rates = []
        while self.num_done < until:
            rates += [current_rate(self.scheduler), *(group["lr"] for group in self.optimizer.param_groups)]
            self.optimizer.step()
            score = (SCORES[self.num_done],) if is_metric_driven(self.scheduler) else ()
            self.scheduler.step(*score)
            self.num_done += 1
        return rates

    def go_on_from(self, other: "Run") -> "Run":
        restore_optimizer(
            self.optimizer, self.scheduler, other.optimizer.state_dict(), other.scheduler.state_dict()
        )
        self.num_done = other.num_done
        return self


@pytest.mark.parametrize("kind", [*BY_STEP, *BY_SCORE])
@pytest.mark.parametrize("stop", [1, 7, 12])
def test_an_unchanged_run_goes_on_to_the_bit(kind: str, stop: int) -> None:
    settings = BY_STEP.get(kind) or {"lr_scheduler_kwargs": BY_SCORE.get(kind, {})}
    unbroken, first = Run(kind, 12, **settings), Run(kind, 12, **settings)
    rates = first.train(stop) + Run(kind, 12, **settings).go_on_from(first).train(14)
    assert rates == unbroken.train(14)


@pytest.mark.parametrize("stop", [5, 12])
@pytest.mark.parametrize(
    "change", [{"num_updates": 24}, {"num_updates": 9}, {"rate": 5e-3}, {"num_updates": 30, "rate": 1e-4}]
)
@pytest.mark.parametrize("kind", BY_STEP)
def test_a_longer_run_or_another_rate_holds_from_the_first_update(
    kind: str, change: dict[str, Any], stop: int
) -> None:
    first = Run(kind, 12, **BY_STEP[kind])
    first.train(stop)
    new = {"num_updates": 12, **change, **BY_STEP[kind]}
    as_if_always = Run(kind, **new)
    as_if_always.train(stop)
    assert Run(kind, **new).go_on_from(first).train(stop + 8) == as_if_always.train(stop + 8)


@pytest.mark.parametrize("kind", BY_SCORE)
def test_a_schedule_by_score_goes_on_as_far_from_the_new_rate(kind: str) -> None:
    options = {"lr_scheduler_kwargs": BY_SCORE[kind]}
    first, same = Run(kind, 12, **options), Run(kind, 12, **options)
    first.train(6)
    same.train(6)
    assert current_rate(first.scheduler) != 2e-3
    now = Run(kind, 24, rate=1e-3, **options).go_on_from(first)
    assert current_rate(now.scheduler) == pytest.approx(current_rate(same.scheduler) / 2)
    assert now.train(10) == pytest.approx([rate / 2 for rate in same.train(10)])
