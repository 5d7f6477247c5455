"""How the bundled modules are loaded: by absolute path, from anywhere, side by side, without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import evaluate
import numpy as np
import pytest
from metric_tools import Space, Spec, draw_classes, feed

import hf_finetune
from hf_finetune.errors import UserError
from hf_finetune.metrics import METRICS, build_metrics
from hf_finetune.metrics.modules import BUNDLED, load_module

NAMES = sorted(folder.name for folder in BUNDLED.iterdir() if (folder / f"{folder.name}.py").exists())


def test_every_module_is_registered() -> None:
    assert len(NAMES) == 12
    assert set(NAMES) | {"hub"} == set(METRICS.names())


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_one_of_evaluate(name: str) -> None:
    module = load_module(BUNDLED / name / f"{name}.py")
    assert isinstance(module, evaluate.Metric)
    assert module.name == name
    assert module.description
    assert set(module.features) == {"predictions", "references"}
    sources = ("https://scikit-learn.org/stable/modules/generated/sklearn", "https://jitsi.github.io/jiwer/")
    assert module.info.reference_urls[0].startswith(sources)


def test_a_module_works_as_the_library_documents() -> None:
    module = load_module(BUNDLED / "accuracy" / "accuracy.py")
    assert module.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 1]) == {"accuracy": 0.5}
    for given, expected in ((1, 1), (0, 1)):
        module.add(prediction=given, reference=expected)
    assert module.compute() == {"accuracy": 0.5}
    with pytest.raises(ValueError, match="2 predictions for 1 references"):
        module.compute(predictions=[0, 1], references=[0])
    both = evaluate.combine([module, load_module(BUNDLED / "f1" / "f1.py")])
    assert both.compute(predictions=[1, 1], references=[1, 0]) == {
        "accuracy": 0.5,
        "f1": pytest.approx(2 / 3),
    }


def test_rows_of_several_processes_must_be_gathered() -> None:
    with pytest.raises(ValueError, match="load it with num_process=1"):
        load_module(BUNDLED / "accuracy" / "accuracy.py", num_process=2, process_id=0)


def test_a_folder_here_shadows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "accuracy").mkdir()
    (tmp_path / "accuracy" / "accuracy.py").write_text("raise SystemExit('the wrong accuracy')")
    monkeypatch.chdir(tmp_path)
    metrics = build_metrics([Spec("accuracy")], Space())
    metrics.update({"prediction": np.array([1])}, np.array([1]))
    assert metrics.compute() == {"accuracy": 1.0}


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("evaluate.config.HF_MODULES_CACHE", tmp_path / "file")
    monkeypatch.setattr("evaluate.utils.file_utils.config.HF_MODULES_CACHE", tmp_path / "file")
    with pytest.raises(UserError, match=r"evaluate cannot load 'accuracy'.*HF_HOME names another"):
        build_metrics([Spec("accuracy")], Space())


def test_the_generators_are_left_alone() -> None:
    metrics = build_metrics([Spec(name) for name in ("accuracy", "f1", "roc_auc")], Space())
    before = np.random.get_state()[1].copy()
    feed(metrics, *draw_classes(0, 3)).compute()
    np.testing.assert_array_equal(np.random.get_state()[1], before)


PROGRAM = """
import sys
import tracemalloc
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from metric_tools import Space, Spec, draw_classes, feed
import hf_finetune.metrics
heavy = {"torch", "transformers", "datasets", "evaluate", "sklearn"} & set(sys.modules)
assert not heavy, heavy
names = ("accuracy", "f1", "roc_auc", "confusion_matrix")
metrics = hf_finetune.metrics.build_metrics([Spec(name) for name in names], Space())
reduced, labels = draw_classes(0, 3)
feed(metrics, reduced, labels, batch=1)
print("ready", flush=True)
sys.stdin.readline()  # both processes have rows waiting now
print(metrics.compute())
"""


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_two_processes_at_once_leave_no_trace(tmp_path: Path) -> None:
    """Both start with an empty cache, so that they also race for the copies `evaluate` makes."""
    site = tmp_path / "site"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(hf_finetune.__file__).parent, site / "hf_finetune", ignore=ignored)
    for folder in (site, *(path for path in site.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    installed = list_files(site)
    program = [sys.executable, "-W", "error", "-c", PROGRAM, str(Path(__file__).parent)]
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(site),
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    (tmp_path / "work").mkdir()
    running = [subprocess.Popen(program, env=environment, cwd=tmp_path / "work", **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in running] == ["ready\n", "ready\n"]
    results = [process.communicate("\n", timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert results[0] == results[1] != ""
    assert list_files(tmp_path) - installed == list_files(tmp_path / "home" / "modules")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mse", "mae", "wer", "cer")])
def test_memory_does_not_grow_with_the_rows(name: str) -> None:
    """20,000 rows of 10 classes are 1.6 MB of scores, and as many again do not show."""
    metrics = build_metrics([Spec(name)], Space(num_labels=10))
    reduced, labels = draw_classes(0, 10, rows=500)

    def measure_peak(num_batches: int) -> int:
        tracemalloc.start()
        try:
            for _ in range(num_batches):
                metrics.update(reduced, labels)
            metrics.compute()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    measure_peak(1)
    assert measure_peak(80) < measure_peak(40) + 50_000
