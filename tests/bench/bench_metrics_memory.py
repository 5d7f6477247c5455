"""Peak memory of each metric at 1x, 10x and 100x the rows.

    python -m pytest -s -m bench tests/bench/bench_metrics_memory.py

Python's own tracer is used, which numpy reports to: the peak of what is allocated between the first batch and
the result, without the batches. The stock metric of evaluate writes rows to a cache file and reads them all
back; logits are what Trainer without reduction piles up.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest

from hf_finetune.metrics import build_metrics

BATCH, CLASSES = 500, 10
ROWS = (10_000, 100_000, 1_000_000)
SPACES = {
    "single": ("single_label_classification", CLASSES),
    "multi": ("multi_label_classification", CLASSES),
    "regression": ("regression", 2),
}
METRICS = {
    "single": ["accuracy", "f1", "precision", "recall", "matthews_correlation", "top_k_accuracy", "roc_auc"],
    "multi": ["accuracy", "f1", "roc_auc"],
    "regression": ["mse", "mae"],
}
CASES = [(kind, name) for kind, names in METRICS.items() for name in names] + [("single", "confusion_matrix")]

Batch = tuple[dict[str, np.ndarray], np.ndarray]


class Stock(evaluate.Metric):
    """Accuracy as the Hub has it."""

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({key: datasets.Value("int64") for key in ("predictions", "references")})
        return evaluate.MetricInfo(description="", citation="", features=features, format="numpy")

    def _compute(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
        return {"accuracy": float((predictions == references).mean())}


def draw(kind: str, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    probabilities = rng.random((BATCH, CLASSES), dtype=np.float32)
    if kind == "single":
        reduced = {"prediction": probabilities.argmax(1), "probabilities": probabilities}
        return reduced, rng.integers(0, CLASSES, BATCH)
    if kind == "multi":
        reduced = {"prediction": (probabilities >= 0.5).astype(np.int64), "probabilities": probabilities}
        return reduced, rng.integers(0, 2, (BATCH, CLASSES)).astype(np.float32)
    return {"prediction": rng.random((BATCH, 2), dtype=np.float32)}, rng.random((BATCH, 2), dtype=np.float32)


def measure_peak(
    update: Callable[[dict[str, np.ndarray], np.ndarray], Any],
    compute: Callable[[], Any],
    kind: str,
    rows: int,
) -> int:
    """Return the peak in bytes from the first batch to the result."""
    batches = [draw(kind, seed) for seed in range(10)]
    tracemalloc.start()
    try:
        for i in range(rows // BATCH):
            update(*batches[i % len(batches)])
        compute()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def build(kind: str, name: str) -> Any:
    problem_type, num_labels = SPACES[kind]
    space = SimpleNamespace(
        problem_type=problem_type, num_labels=num_labels, names=tuple(map(str, range(num_labels)))
    )
    return build_metrics([SimpleNamespace(name=name, options={})], space)


def show(name: str, peaks: list[int]) -> None:
    print(f"{name:34}" + "".join(f"{peak / 2**20:12.3f}" for peak in peaks) + f"{peaks[-1] / peaks[0]:10.2f}")


@pytest.mark.bench
def test_memory_is_flat_in_the_number_of_rows(tmp_path: Path) -> None:
    print(f"\n{'peak MiB at rows':34}" + "".join(f"{rows:>12,}" for rows in ROWS) + f"{'ratio':>10}")
    for kind, name in CASES:
        metrics = build(kind, name)
        measure_peak(metrics.update, metrics.compute, kind, 10 * BATCH)  # what is imported at first use
        peaks = [measure_peak(metrics.update, metrics.compute, kind, rows) for rows in ROWS]
        show(f"{name} ({kind})", peaks)
        assert peaks[-1] - peaks[0] < 2**19, f"{name} grows with the rows"
    stock = Stock(cache_dir=str(tmp_path))
    peaks = [
        measure_peak(
            lambda reduced, labels: stock.add_batch(predictions=reduced["prediction"], references=labels),
            stock.compute,
            "single",
            rows,
        )
        for rows in ROWS
    ]
    show("accuracy of evaluate (stock)", peaks)
    show(f"logits of {CLASSES} classes", [4 * CLASSES * rows for rows in ROWS])
