"""Every row is seen exactly once per epoch, in an order that all processes know."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_harness.cells import Cell
from engine_harness.execute import build_parts
from engine_harness.tasks import Rows

from hf_finetune.engines.loaders import build_train_loader
from hf_finetune.engines.tickets import plan_evaluation, plan_training

STRATEGIES = ["random", "sequential", "group_by_length", "batch_rebalance"]


def arguments(num_processes: int, process: int, **given: Any) -> Any:
    usual = {
        "train_batch_size": 4,
        "eval_batch_size": 4,
        "gradient_accumulation_steps": 3,
        "dataloader_drop_last": False,
        "train_sampling_strategy": "random",
        "length_column_name": "length",
        "average_tokens_across_devices": True,
    }
    return SimpleNamespace(world_size=num_processes, process_index=process, **{**usual, **given})


def rows(number: int) -> Any:
    return SimpleNamespace(
        train_dataset=Rows([{"x": torch.zeros(1 + i % 7)} for i in range(number)], "x"), model=None
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("number", [4, 7, 12, 13, 14, 23, 24, 25, 26, 27, 35, 37])
@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_an_update_sees_the_same_rows_on_any_number_of_processes(
    strategy: str, number: int, accumulation: int
) -> None:
    """12 rows an update on 1, 2, 3 and 4 processes, each row once an epoch, as many micro-batches on all."""

    def updates(num_processes: int, accumulation: int) -> list[list[int]]:
        given = {
            "train_batch_size": 12 // num_processes // accumulation,
            "gradient_accumulation_steps": accumulation,
            "train_sampling_strategy": strategy,
        }
        plans = [
            plan_training(rows(number), arguments(num_processes, process, **given), 42)(1)
            for process in range(num_processes)
        ]
        rounds = list(zip(*plans, strict=True))
        windows = [rounds[start : start + accumulation] for start in range(0, len(rounds), accumulation)]
        return [
            sorted(row for shares in window for share in shares if not share.is_filler for row in share.rows)
            for window in windows
        ]

    alone = updates(1, 1)
    assert len(alone) == -(-number // 12)
    assert sorted(row for update in alone for row in update) == list(range(number))
    for num_processes in (1, 2, 3, 4):
        if 12 % (num_processes * accumulation) == 0:
            assert updates(num_processes, accumulation) == alone


def test_a_process_without_a_row_takes_part_with_one_that_does_not_count() -> None:
    last = [plan_training(rows(13), arguments(3, process), 42)(0)[-1] for process in range(3)]
    counted = [share.rows for share in last if not share.is_filler]
    assert [share.is_filler for share in last] == [True, True, False]
    assert [share.rows for share in last] == counted * 3


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
def test_where_each_process_divides_by_its_own_targets_each_has_some(strategy: str) -> None:
    given = {"train_sampling_strategy": strategy, "average_tokens_across_devices": False}
    plans = [plan_training(rows(13), arguments(3, process, **given), 42)(0) for process in range(3)]
    assert not any(share.is_filler for plan in plans for share in plan)
    assert sorted(row for plan in plans for share in plan for row in share.rows) == list(range(13))


def test_drop_last_drops_what_does_not_fill_a_round() -> None:
    plan = plan_training(rows(35), arguments(2, 1, dataloader_drop_last=True), 42)
    assert [len(share.rows) for share in plan(0)] == [4, 4, 4, 4]


@pytest.mark.parametrize("number", [1, 2, 5, 8, 9, 17])
def test_an_evaluation_takes_the_rows_in_order(number: int) -> None:
    shares = [plan_evaluation(number, arguments(2, process)) for process in range(2)]
    assert len(shares[0]) == len(shares[1]) == -(-number // 8)
    counted = [share for plan in zip(*shares, strict=True) for share in plan if not share.is_filler]
    assert [row for share in counted for row in share.rows] == list(range(number))


def test_an_order_is_the_plain_trainers_on_one_process() -> None:
    order = [row for share in plan_training(rows(33), arguments(1, 0), 42)(2) for row in share.rows]
    assert order == torch.randperm(33, generator=torch.Generator().manual_seed(44)).tolist()


def test_loading_draws_nothing_from_the_global_stream(tmp_path: Path) -> None:
    parts = build_parts(Cell("any", noise=0.1), tmp_path)
    loader = build_train_loader(parts, parts.args)
    state = torch.random.get_rng_state()
    first = [batch["pixel_values"] for batch in loader]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b["pixel_values"]) for a, b in zip(first, loader, strict=True))
    loader.set_epoch(1)
    assert not torch.equal(next(iter(loader))["pixel_values"], first[0])
