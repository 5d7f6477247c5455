"""The comparison sees small mistakes: the loop with one thing broken is not equal to the Trainer engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_harness import compare
from engine_harness.cells import CELLS, EVERY_FIVE, Cell
from engine_harness.execute import execute

from hf_finetune.engines import bookkeeping, calendar, checkpoint, loaders, loop, sources
from hf_finetune.runner import adaptive_rank

pytestmark = pytest.mark.parity

RAGGED = Cell(
    "ragged", args={**EVERY_FIVE, "gradient_accumulation_steps": 3, "eval_steps": 2, "save_steps": 2}, stop=4
)
PLAIN = Cell("plain", args=dict(EVERY_FIVE), stop=20)
SOUNDS = CELLS["audio-classification"]
ADALORA = CELLS["adalora"]
SPEECH = Cell("speech", "speech", dict(EVERY_FIVE), stop=15)


def clip_a_little_less(patch: pytest.MonkeyPatch) -> None:
    clip = torch.nn.utils.clip_grad_norm_
    fake = dataclasses.make_dataclass("nn", ["utils", "Parameter"])
    utils = dataclasses.make_dataclass("utils", ["clip_grad_norm_"])
    patch.setattr(
        loop, "nn", fake(utils(lambda weights, limit: clip(weights, limit * 1.0000001)), torch.nn.Parameter)
    )


def draw_once_more_per_evaluation(patch: pytest.MonkeyPatch) -> None:
    evaluate = calendar.evaluate
    patch.setattr(calendar, "evaluate", lambda *a, **k: (torch.rand(1), evaluate(*a, **k))[1])


def divide_by_micro_batches(patch: pytest.MonkeyPatch) -> None:
    """The mean of means: right only where all micro-batches are as large as each other."""
    patch.setattr(loop, "count_targets", lambda window: torch.tensor(len(window) * len(window[0]["labels"])))


def sum_the_loss_in_64_bits(patch: pytest.MonkeyPatch) -> None:
    begin = calendar.Calendar.begin

    def begin_wide(self: Any, resume_from: Any) -> Any:
        found = begin(self, resume_from)
        self.loss_sum = self.loss_sum.double()
        return found

    patch.setattr(calendar.Calendar, "begin", begin_wide)


def read_the_rate_too_late(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "current_rate", lambda scheduler: scheduler.get_last_lr()[0] * (1 + 2**-52))


def shuffle_by_another_seed(patch: pytest.MonkeyPatch) -> None:
    build = loaders.build_train_loader

    def build_otherwise(parts: Any, args: Any) -> Any:
        args.data_seed = 43
        loader = build(parts, args)
        args.data_seed = None
        return loader

    patch.setattr(loop, "build_train_loader", build_otherwise)


def forget_the_random_state(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoint, "restore_rng", lambda folder, args: None)


def forget_what_spec_augment_draws_from(patch: pytest.MonkeyPatch) -> None:
    """transformers masks spans of wav2vec2's frames with numpy's global generator."""
    patch.setattr(np.random, "set_state", lambda state: None)


def forget_the_running_loss(patch: pytest.MonkeyPatch) -> None:
    read = bookkeeping.Progress.read

    def read_less(*args: Any) -> Any:
        return dataclasses.replace(read(*args), loss_sum=torch.zeros(()))

    patch.setattr(calendar.Progress, "read", read_less)


def forget_the_position(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "skip_first_batches", lambda loader, num_done: loader)


def augment_without_the_epoch(patch: pytest.MonkeyPatch) -> None:
    for module in (loaders, sources):
        patch.setattr(module, "set_epoch", lambda dataset, epoch: None)


def leave_out_adaloras_penalty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adaptive_rank._WithPenalty, "_penalty", lambda self: torch.zeros(()))


def weigh_adaloras_penalty_wrongly(patch: pytest.MonkeyPatch) -> None:
    """As if every micro-batch had one target."""
    patch.setattr(adaptive_rank, "count_targets", lambda window: torch.tensor(1))


def keep_all_ranks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adaptive_rank.RankSchedule, "on_optimizer_step", lambda *args, **others: None)


@pytest.mark.parametrize(
    ("cell", "break_it"),
    [
        (PLAIN, clip_a_little_less),
        (PLAIN, draw_once_more_per_evaluation),
        (PLAIN, read_the_rate_too_late),
        (PLAIN, shuffle_by_another_seed),
        (PLAIN, augment_without_the_epoch),
        (PLAIN, sum_the_loss_in_64_bits),
        (RAGGED, divide_by_micro_batches),
        (ADALORA, leave_out_adaloras_penalty),
        (ADALORA, weigh_adaloras_penalty_wrongly),
        (ADALORA, keep_all_ranks),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", "")),
)
def test_the_comparison_sees(
    cell: Cell,
    break_it: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = execute(cell, "trainer", tmp_path, "trainer")
    assert compare.compare_runs(whole, execute(cell, "accelerate", tmp_path, "accelerate")) == []
    break_it(monkeypatch)
    assert compare.compare_runs(whole, execute(cell, "accelerate", tmp_path, "broken")) != []


@pytest.mark.parametrize(
    ("cell", "break_it"),
    [
        (PLAIN, forget_the_random_state),
        (PLAIN, forget_the_position),
        (SPEECH, forget_the_random_state),
        (SOUNDS, forget_what_spec_augment_draws_from),
        (dataclasses.replace(PLAIN, args={**EVERY_FIVE, "logging_steps": 3}), forget_the_running_loss),
    ],
    ids=lambda value: getattr(value, "__name__", getattr(value, "name", "")),
)
def test_the_comparison_sees_a_resume_that_forgets(
    cell: Cell,
    break_it: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = execute(cell, "trainer", tmp_path, "trainer")
    resumed = execute(cell, "accelerate", tmp_path, "resumed", resume="trainer")
    assert compare.compare_runs(whole, resumed, skip=("events",)) == []
    break_it(monkeypatch)
    resumed = execute(cell, "accelerate", tmp_path, "broken", resume="trainer")
    assert compare.compare_runs(whole, resumed, skip=("events",)) != []
