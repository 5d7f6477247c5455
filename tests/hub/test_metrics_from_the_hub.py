"""A metric of the Hub is fetched at its commit by the real client, and never asked for again."""

from __future__ import annotations

from pathlib import Path

import hf_finetune

COMMIT, NEWER = "1" * 40, "2" * 40
MODULE = """
import datasets
import evaluate

from .scaling import FACTOR


class Right(evaluate.Metric):
    def _info(self):
        value = datasets.Value("int64")
        features = datasets.Features({"predictions": value, "references": value})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"right": FACTOR * sum(p == r for p, r in zip(predictions, references))}
"""
PROGRAM = """
import types

import numpy as np

from hf_finetune.errors import HubError
from hf_finetune.metrics import build_metrics

space = types.SimpleNamespace(problem_type="single_label_classification", num_labels=2, names=("a", "b"))
for name, revision in revisions.items():
    spec = types.SimpleNamespace(name="hub", options={"path": path, "revision": revision})
    try:
        metrics = build_metrics([spec], space, trust_remote_code=True)
    except HubError as error:
        seen[name] = str(error)
        continue
    metrics.update({"prediction": np.array([0, 1, 1])}, np.array([0, 1, 0]))
    seen[name] = metrics.compute()
"""


def publish(folder: Path, factor: int) -> Path:
    folder.mkdir()
    (folder / "right.py").write_text(MODULE, encoding="utf-8")
    (folder / "scaling.py").write_text(f"FACTOR = {factor}\n", encoding="utf-8")
    return folder


def test_the_commit_of_the_recipe_runs(hub, client, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(hf_finetune.__file__).parents[1]))
    hub.add_folder("space", "org/right", publish(tmp_path / "old", 1), revision=COMMIT)
    hub.add_folder("space", "org/right", publish(tmp_path / "new", 10), revision=NEWER)
    revisions = {"pinned": COMMIT, "newer": NEWER, "unknown": "3" * 40}
    seen = client(PROGRAM, path="org/right", revisions=revisions)
    assert seen["pinned"] == {"right": 2.0}
    assert seen["newer"] == {"right": 20.0}
    assert seen["unknown"].startswith(
        f"right.py of org/right at revision {'3' * 40} could not be fetched: 404"
    )

    hub.log.clear()
    seen = client(PROGRAM, path="org/right", revisions={"pinned": COMMIT})
    assert seen["pinned"] == {"right": 2.0}
    assert not hub.log, "a commit in the cache needs no question"
