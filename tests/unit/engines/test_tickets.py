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

STRATEGIES = ["random", "sequential", "group_by_length"]


def arguments(num_processes: int, process: int, **given: Any) -> Any:
    usual = {
        "train_batch_size": 4,
        "eval_batch_size": 4,
        "gradient_accumulation_steps": 3,
        "dataloader_drop_last": False,
        "train_sampling_strategy": "random",
        "length_column_name": "length",
    }
    return SimpleNamespace(world_size=num_processes, process_index=process, **{**usual, **given})


def rows(number: int) -> Any:
    return SimpleNamespace(
        train_dataset=Rows([{"x": torch.zeros(1 + i % 7)} for i in range(number)], "x"), model=None
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("number", [1, 7, 8, 9, 31, 32, 33, 35])
@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_every_row_once(strategy: str, number: int, num_processes: int) -> None:
    if number < num_processes:
        return
    plans = [
        plan_training(rows(number), arguments(num_processes, process, train_sampling_strategy=strategy), 42)
        for process in range(num_processes)
    ]
    for epoch in range(3):
        shares = [plan(epoch) for plan in plans]
        assert len({len(share) for share in shares}) == 1
        assert all(len(batch) > 0 for share in shares for batch in share)
        seen = [row for share in shares for batch in share for row in batch]
        assert sorted(seen) == list(range(number))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_rows_an_update_on_any_number_of_processes(strategy: str) -> None:
    def updates(num_processes: int) -> list[set[int]]:
        found: list[set[int]] = []
        for process in range(num_processes):
            given = {"train_batch_size": 12 // num_processes, "train_sampling_strategy": strategy}
            share = plan_training(rows(64), arguments(num_processes, process, **given), 42)(1)
            for number, batch in enumerate(share):
                if process == 0:
                    found.append(set())
                found[number] |= set(batch)
        return found

    assert updates(1) == updates(2) == updates(3)


def test_drop_last_drops_what_does_not_fill_a_round() -> None:
    plan = plan_training(rows(35), arguments(2, 1, dataloader_drop_last=True), 42)
    assert [len(batch) for batch in plan(0)] == [4, 4, 4, 4]


@pytest.mark.parametrize("number", [1, 2, 5, 8, 9, 17])
def test_an_evaluation_takes_the_rows_in_order(number: int) -> None:
    shares = [plan_evaluation(number, arguments(2, process)) for process in range(2)]
    assert len(shares[0]) == len(shares[1]) == -(-number // 8)
    assert {row for share in shares for batch in share for row in batch} == set(range(number))


def test_an_order_is_the_plain_trainers_on_one_process() -> None:
    order = [row for batch in plan_training(rows(33), arguments(1, 0), 42)(2) for row in batch]
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
