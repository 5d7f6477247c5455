"""Metrics of the Hub: asked for twice, pinned, and read from the cache of the Hub client."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from metric_tools import MULTI, Space, Spec

from hf_finetune.errors import HubError, UserError
from hf_finetune.metrics import MetricSet, build_metrics

COMMIT, OLDER = "a" * 40, "b" * 40
MODULE = """
import datasets
import evaluate

from .helper import FACTOR


class ShareRight(evaluate.Metric):
    def _info(self):
        features = datasets.Features({
            "predictions": datasets.Value("int64"),
            "references": datasets.Value("int64"),
        })
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references, scale=1):
        num_right = sum(p == r for p, r in zip(predictions, references))
        return {"share": FACTOR * scale * num_right / len(references)}
"""


def where(dotted: str) -> str:
    return f"r.yaml[{dotted}]"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub client's cache and that of evaluate, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_CACHE", tmp_path / "evaluate")
    return tmp_path / "hub"


def publish(cache: Path, commit: str, module: str = MODULE, *, factor: int | None = 1) -> None:
    """Put a revision into the cache, as a download does."""
    folder = cache / "spaces--org--share-right" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder / "share-right.py").write_text(module)
    if factor is not None:
        (folder / "helper.py").write_text(f"FACTOR = {factor}\n")


def build(space: Space | None = None, **options: Any) -> MetricSet:
    given = {"path": "org/share-right", "revision": COMMIT, **options}
    return build_metrics([Spec("hub", given)], space or Space(), where=where, trust_remote_code=True)


def test_the_pinned_revision_runs(cache: Path) -> None:
    publish(cache, OLDER, factor=2)
    publish(cache, COMMIT, factor=1)
    for commit, factor in ((COMMIT, 1), (OLDER, 2), (COMMIT, 1)):
        metrics = build(revision=commit, scale=10, greater_is_better=False)
        for labels in ([0, 1, -100], [2, 2, -100], [-100] * 3):
            metrics.update({"prediction": np.array([0, 2, 1])}, np.array(labels))
        assert metrics.compute() == {"share_right": factor * 10 * 2 / 4}
        assert math.isnan(metrics.compute()["share_right"])
        assert not metrics.greater_is_better("eval_share_right")


def test_it_leaves_no_files(cache: Path) -> None:
    publish(cache, COMMIT)
    metrics = build()
    metrics.update({"prediction": np.array([0])}, np.array([0]))
    folder = Path(evaluate.config.HF_EVALUATE_CACHE)
    assert list(folder.iterdir())
    del metrics
    gc.collect()
    assert not list(folder.iterdir())


def test_two_of_them_do_not_meet(cache: Path) -> None:
    publish(cache, COMMIT)
    one, other = build(), build()
    one.update({"prediction": np.array([0])}, np.array([0]))
    other.update({"prediction": np.array([0])}, np.array([1]))
    assert one.compute() == {"share_right": 1.0}
    assert other.compute() == {"share_right": 0.0}


def test_remote_code_is_refused_by_default(cache: Path) -> None:
    publish(cache, COMMIT, "raise SystemExit('it ran')")
    spec = Spec("hub", {"path": "org/share-right", "revision": COMMIT})
    with pytest.raises(
        UserError, match=r"^r.yaml\[metrics.0\]: the metric 'org/share-right' is code of the Hub"
    ):
        build_metrics([spec], Space(), where=where)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"revision": "main"},
            r"^r.yaml\[metrics.0.revision\]: .*40 hex digits, not 'main'. A branch or a tag",
        ),
        ({"revision": COMMIT.upper()}, r"40 hex digits"),
        ({"path": "accuracy"}, r"^r.yaml\[metrics.0.path\]: .*org/metric, not 'accuracy'"),
        ({"path": "../up"}, r"not '../up'"),
        ({"path": "./here"}, r"not './here'"),
        ({"reads": "logits"}, r"prediction or probabilities, not 'logits'"),
        ({"greater_is_better": "yes"}, r"must be true or false"),
        ({"scal": 1}, r"^r.yaml\[metrics.0.scal\]: .*org/share-right has no option 'scal'"),
        ({"trust_remote_code": True}, r"has no option 'trust_remote_code'"),
    ],
)
def test_mistakes_have_a_place(cache: Path, options: dict[str, Any], message: str) -> None:
    publish(cache, COMMIT)
    with pytest.raises(UserError, match=message):
        build(**options)


def test_a_path_and_a_revision_are_needed() -> None:
    with pytest.raises(UserError, match="needs the option 'revision'"):
        build_metrics([Spec("hub", {"path": "org/metric"})], Space(), trust_remote_code=True)


def test_what_is_not_cached_is_said_at_once(cache: Path) -> None:
    publish(cache, OLDER)
    with pytest.raises(
        HubError, match=rf"cannot be reached, and share-right.py of org/share-right at .* {COMMIT}"
    ):
        build()
    publish(cache, COMMIT, factor=None)
    with pytest.raises(HubError, match=r"helper.py of org/share-right"):
        build()


def test_code_from_elsewhere_is_not_pinned(cache: Path) -> None:
    source = "https://example.org/scorer.py"
    publish(
        cache,
        COMMIT,
        MODULE.replace("from .helper import FACTOR", f"from .scorer import F  # From: {source}"),
    )
    with pytest.raises(UserError, match=rf"fetches code from {source}, which no revision pins"):
        build()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "import datasets\n",
            "import datasets\nimport not_here_at_all\n",
            r"metrics.0.path\]: .*not_here_at_all",
        ),
        (
            '"references": datasets',
            '"weights": datasets.Value("int64"),\n            "references": datasets',
            "only one input",
        ),
    ],
)
def test_modules_that_cannot_be_used(cache: Path, old: str, new: str, message: str) -> None:
    publish(cache, COMMIT, MODULE.replace(old, new))
    with pytest.raises(UserError, match=message):
        build()


def test_a_failing_module_is_named(cache: Path) -> None:
    publish(cache, COMMIT)
    with pytest.raises(UserError, match=r"(?s)^the metric 'org/share-right' failed: .*Check its options"):
        build(Space(MULTI, 2)).update({"prediction": np.eye(2, dtype=int)}, np.eye(2))


def test_the_direction_must_be_said(cache: Path) -> None:
    publish(cache, COMMIT)
    with pytest.raises(UserError, match="Say greater_is_better"):
        build().greater_is_better("share_right")
    assert build(greater_is_better=True).greater_is_better("eval_share_right_top") is True  # if it has many
