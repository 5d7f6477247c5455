"""What a checkpoint costs: ours, flushed and hashed, against a plain Trainer's, for a DeiT-base with moments.

    python -m pytest -m bench -s tests/bench/bench_saving.py

They save in turn, in one process, the same 86M-parameter model and AdamW state (1.03 GB); the median of the
ratios is printed. Ours flushes every file and folder to the disk; the plain one leaves that to the system, so
it also runs with its files flushed, to compare like with like. Where there is a GPU, the model is on it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path

import pytest
import torch
from engine_harness.cells import Cell
from engine_harness.execute import build_parts
from transformers import DeiTConfig, DeiTForImageClassification, Trainer, TrainerState

from hf_finetune.engines import snapshot
from hf_finetune.optim import build_optimizer, build_scheduler

NUM_ROUNDS = 5


def flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


@pytest.mark.bench
def test_saving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = build_parts(Cell("any"), tmp_path, save_total_limit=1, use_cpu=not torch.cuda.is_available())
    model = DeiTForImageClassification(DeiTConfig(num_labels=10)).to(parts.args.device)
    optimizer = build_optimizer(model, parts.args)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    scheduler = build_scheduler(optimizer, parts.args, 100)
    trainer = Trainer(
        model=model, args=parts.args, train_dataset=parts.train_dataset, optimizers=(optimizer, scheduler)
    )
    parts = type(parts)(**{**vars(parts), "model": model})

    def save_plainly() -> None:
        trainer.state.global_step = 1
        trainer._save_checkpoint(model, None)

    def save_plainly_and_flush() -> None:
        save_plainly()
        flush(tmp_path / "checkpoint-1")

    def save_ours() -> None:
        snapshot.save(
            snapshot.Snapshot(
                parts=parts,
                args=parts.args,
                state=TrainerState(global_step=2),
                optimizer=optimizer,
                scheduler=scheduler,
                scaler=None,
                engine_state={},
            )
        )

    kinds = {"plain": save_plainly, "plain, flushed": save_plainly_and_flush, "ours": save_ours}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(NUM_ROUNDS + 1):
        for name, save in kinds.items():
            for folder in tmp_path.glob("checkpoint-*"):
                shutil.rmtree(folder)
            os.sync()
            start = time.perf_counter()
            save()
            if number > 0:
                seconds[name].append(time.perf_counter() - start)
    size = sum(path.stat().st_size for path in (tmp_path / "checkpoint-2").iterdir()) / 1e9
    with capsys.disabled():
        print(f"\n{size:.2f} GB, median of {NUM_ROUNDS}")
        for name, times in seconds.items():
            ratio = statistics.median(t / plain for t, plain in zip(times, seconds["plain"], strict=True))
            print(f"  {name:15s} {statistics.median(times):.2f} s  {ratio:.2f} of plain")
