"""Peak memory of an evaluation at 1x and 10x the rows: ours with accuracy, and plain Trainer's.

    python -m pytest -m bench -s tests/bench/bench_evaluation_memory.py

Each is measured in a process of its own: by how much the peak of its resident memory grows after a first
evaluation of one batch. Rows are made when asked for, so they take no memory themselves; 4,000 classes make
logits of 16 kB a row.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

NUM_CLASSES, BATCH = 4_000, 50
ROWS = (2_000, 20_000)


class Made(Dataset[Any]):
    """Rows that are made when asked for."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def __len__(self) -> int:
        return self.num_rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": torch.full((3, 16, 16), (index % 7) / 7), "labels": index % NUM_CLASSES}


def peak_memory() -> float:
    """Return the peak of this process' resident memory in MiB (Linux).

    `resource.getrusage` counts that of the process which started this one, too.
    """
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in text)
    return int(line.split()[1]) / 1024


def measure(kind: str, num_rows: int) -> float:
    """Return by how many MiB an evaluation of so many rows raises the peak, in this process."""
    import dataclasses

    import numpy as np
    from engine_harness.cells import Cell
    from engine_harness.execute import build_parts
    from transformers import DeiTConfig, DeiTForImageClassification, Trainer

    from hf_finetune.engines.evaluation import evaluate
    from hf_finetune.metrics import build_metrics
    from hf_finetune.recipe import Recipe
    from hf_finetune.tasks.labels import LabelSpace

    torch.set_num_threads(1)
    config = DeiTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        num_labels=NUM_CLASSES,
    )
    names = tuple(str(number) for number in range(NUM_CLASSES))
    space = LabelSpace(problem_type="single_label_classification", names=names, num_labels=NUM_CLASSES)
    specs = Recipe(task="x", model={"checkpoint": "x"}, data={"path": "x"}, metrics=["accuracy"]).metrics
    with tempfile.TemporaryDirectory() as folder:
        parts = dataclasses.replace(
            build_parts(Cell("any"), Path(folder), per_device_eval_batch_size=BATCH),
            model=DeiTForImageClassification(config),
            metrics=build_metrics(specs, space, where=str),
        )
        trainer = Trainer(
            model=parts.model,
            args=parts.args,
            data_collator=parts.collate,
            compute_metrics=lambda found: {
                "accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))
            },
        )

        def run(rows: int) -> None:
            if kind == "ours":
                evaluate(parts, Made(rows), prefix="eval")
            else:
                trainer.evaluate(Made(rows))

        run(BATCH)
        before = peak_memory()
        run(num_rows)
        return peak_memory() - before


@pytest.mark.bench
def test_evaluation_memory(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {[*paths, str(Path(__file__).parent)]!r}\n"
    code += "import bench_evaluation_memory as b; print(b.measure(sys.argv[1], int(sys.argv[2])))"
    with capsys.disabled():
        for kind in ("ours", "plain Trainer"):
            grown = []
            for num_rows in ROWS:
                words = [sys.executable, "-W", "ignore", "-c", code, kind, str(num_rows)]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                grown.append(float(done.stdout.splitlines()[-1]))
            told = ", ".join(f"{rows:,} rows {mib:.1f} MiB" for rows, mib in zip(ROWS, grown, strict=True))
            print(f"\n{kind:<14} peak grows by: {told}", end="")
