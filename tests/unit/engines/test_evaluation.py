"""An evaluation holds one batch, whatever the number of rows."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_harness.cells import Cell
from engine_harness.execute import build_parts
from engine_harness.tasks import Rows
from torch import nn

from hf_finetune.engines.evaluation import evaluate, try_one_batch
from hf_finetune.engines.loaders import build_train_loader
from hf_finetune.errors import DataError, UserError

NUM_CLASSES = 4000


class Wide(nn.Module):
    """Logits that could not be kept: 16 kB a row."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, NUM_CLASSES))

    def forward(self, value: torch.Tensor) -> Any:
        return SimpleNamespace(logits=value @ self.weight)


def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
    return {"value": torch.ones(len(rows), 1), "labels": torch.tensor([row["labels"] for row in rows])}


def memory_mb(kind: str) -> float:
    """Return this process' resident memory: VmRSS is what it takes now, VmHWM the most since a reset."""
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if kind in text)
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux' /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    parts = dataclasses.replace(build_parts(Cell("any"), tmp_path), model=Wide(), collate=collate)
    few = Rows([{"labels": 1}] * 500, "labels")
    many = Rows([{"labels": 1}] * 5000, "labels")
    evaluate(parts, few, prefix="eval")
    Path("/proc/self/clear_refs").write_text("5")  # the peak of what ran here before would hide ours
    before = memory_mb("VmRSS")
    evaluate(parts, many, prefix="eval")
    assert memory_mb("VmHWM") - before < 8  # the logits of all rows are 80 MB


def test_trying_a_batch_leaves_everything_as_it_was(tmp_path: Path) -> None:
    parts = build_parts(Cell("any", "speech"), tmp_path)
    weights = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    state = torch.random.get_rng_state()
    try_one_batch(parts)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in parts.model.state_dict().items())


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the eval set is empty"):
        evaluate(build_parts(Cell("any"), tmp_path), Rows([], "labels"), prefix="eval")


@pytest.mark.parametrize(
    ("given", "todo"),
    [
        ({}, "Say max_steps"),
        ({"max_steps": 3, "dataloader_num_workers": 2}, "Use 0 or 1"),
        ({"max_steps": 3, "save_strategy": "epoch"}, "a stream has no epochs"),
        ({"max_steps": 3, "train_sampling_strategy": "group_by_length"}, "the order of a stream is its own"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(given: dict[str, Any], todo: str, tmp_path: Path) -> None:
    parts = build_parts(Cell("any", kind="stream"), tmp_path, **given)
    with pytest.raises(UserError, match=todo):
        build_train_loader(parts, parts.args)
