"""What only a GPU does: memory that runs out, a loss scale that skips, a run that changes its device."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_harness import compare
from engine_harness.cells import EVERY_FIVE, Cell
from engine_harness.execute import build_parts
from engine_harness.half_precision import check_skipped_updates
from real_runs import command
from real_runs.digits import make_folder

from hf_finetune.engines import ENGINES

pytestmark = pytest.mark.gpu

ON_A_GPU = ["training.use_cpu=false", "training.full_determinism=true"]


@pytest.mark.parametrize("engine", command.ENGINES)
def test_memory_that_runs_out_halves_the_batch(engine: str, tmp_path: Path) -> None:
    """The allocator itself refuses; the result is that of a run with the batch size found."""
    ends = []
    for batch, search in ((12, True), (6, False)):
        cell = Cell("memory", args={**EVERY_FIVE, "max_steps": 6, "use_cpu": False, "full_determinism": True})
        parts = build_parts(
            cell, tmp_path / "live", per_device_train_batch_size=batch, auto_find_batch_size=search
        )
        tried: list[int] = []

        def loss(outputs: Any, labels: Any, parts: Any = parts, tried: Any = tried, **others: Any) -> Any:
            if parts.model.training:
                tried.append(len(labels))
                torch.empty(1 << (50 if len(labels) > 6 else 5), dtype=torch.uint8, device=labels.device)
            return parts.loss(outputs, labels, **others)

        state = ENGINES.get(engine)(dataclasses.replace(parts, loss=loss), None)
        assert (max(tried) == 12) == search
        ends.append((compare.without_times(state.log_history), dict(parts.model.state_dict())))
    assert compare.first_difference(ends[0], ends[1]) is None


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_updates_that_the_loss_scale_skips(optim: str, tmp_path: Path) -> None:
    check_skipped_updates(tmp_path, optim, fp16=True, use_cpu=False, full_determinism=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_folder(tmp_path_factory.mktemp("workshop")))


@pytest.mark.parametrize("first", command.ENGINES)
def test_a_killed_run_ends_as_the_unbroken_one(first: str, recipe: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for engine, folder, fault in (
        ("trainer", whole, None),
        (
            first,
            broken,
            {"kind": "signal", "signals": [signal.SIGKILL], "match": "run/checkpoint-16", "nth": 1},
        ),
    ):
        done = command.run(["run", recipe, f"engine={engine}", *ON_A_GPU], folder, fault=fault)
        assert done.code == (-signal.SIGKILL if fault else 0), done.err
    second = next(engine for engine in command.ENGINES if engine != first)
    done = command.run(["run", recipe, f"engine={second}", *ON_A_GPU, "--resume"], broken)
    assert done.code == 0, done.err
    command.assert_same_run(command.read_run(whole / "run"), broken / "run")


@pytest.mark.parametrize("engine", command.ENGINES)
def test_a_run_goes_on_on_another_device(engine: str, recipe: str, tmp_path: Path) -> None:
    """The numbers are then those of the other device's kernels, and the message says so."""
    short = ["training.max_steps=8"]
    done = command.run(["run", recipe, f"engine={engine}", "training.use_cpu=false", *short], tmp_path)
    assert done.code == 0, done.err
    done = command.run(["run", recipe, f"engine={engine}", "training.use_cpu=true", "--resume"], tmp_path)
    assert done.code == 0, done.err
    assert "'cpu', applied: its kernels round otherwise" in " ".join((done.out + done.err).split())
    done = command.run(["run", recipe, f"engine={engine}", "training.max_steps=32", "--resume"], tmp_path)
    assert done.code == 0, done.err
    assert [entry["step"] for entry in command.read_log(tmp_path / "run") if "loss" in entry] == [
        *range(1, 33)
    ]


def test_evaluate_and_predict_on_a_gpu(recipe: str, tmp_path: Path) -> None:
    done = command.run(["run", recipe, "training.use_cpu=false", "training.bf16=true"], tmp_path)
    assert done.code == 0, done.err
    done = command.run(["evaluate", "run"], tmp_path)
    assert done.code == 0, done.err
    picture = next((Path(recipe).parent / "digits" / "test").rglob("*.png"))
    done = command.run(["predict", "run", str(picture), "--format", "jsonl"], tmp_path)
    assert done.code == 0, done.err
    assert picture.name in done.out
