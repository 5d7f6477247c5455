"""Peak memory of `predict` at 1x and 10x the rows.

    python -m pytest -m bench -s tests/bench/bench_predict_memory.py

Each is measured in a process of its own: by how much the peak of its resident memory grows after a first
call with one batch. The rows are lines of a csv that name one picture.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = (1_000, 10_000)
SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "image-classification.yaml"


def measure(folder: Path, num_rows: int) -> float:
    """Return by how many MiB predictions for so many rows raise the peak, in this process."""
    from bench_evaluation_memory import peak_memory  # run as a program, its folder is where imports begin

    from hf_finetune import predict

    peaks = []
    for count in (32, num_rows):
        table = folder / f"{num_rows}-{count}.csv"
        table.write_text("picture\n" + "picture.png\n" * count)
        output = table.with_suffix(".jsonl")
        assert predict(folder / "run", table, output=output) == 0
        peaks.append(peak_memory())
        with output.open() as lines:
            assert sum(1 for _ in lines) == count
    return peaks[1] - peaks[0]


@pytest.mark.bench
def test_memory_of_predict(tmp_path):
    from PIL import Image

    from hf_finetune import load_recipe, run

    Image.new("RGB", (16, 16), "white").save(tmp_path / "picture.png")
    run(load_recipe(SMOKE, [f"training.output_dir={tmp_path / 'run'}", "training.max_steps=2"]))
    for num_rows in ROWS:
        words = [sys.executable, "-W", "ignore", __file__, str(tmp_path), str(num_rows)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        print(f"\npredict, {num_rows:6,} rows: peak + {float(done.stdout.split()[-1]):.1f} MiB", end="")


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), int(sys.argv[2])))
