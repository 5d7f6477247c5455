import errno
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_finetune.predictions import MAX_WORST, PredictionWriter, write_worst
from hf_finetune.recipe import TaskSpec
from hf_finetune.tasks import LabelSpace
from hf_finetune.tasks.image_classification import ImageClassification

TASK = ImageClassification(TaskSpec(name="image-classification"))
ANIMALS = LabelSpace(problem_type="single_label_classification", names=("cat", "dog", "owl"), num_labels=3)


def batch(probabilities, labels):
    probabilities = np.asarray(probabilities, dtype=np.float32)
    reduced = {"prediction": probabilities.argmax(1), "probabilities": probabilities}
    return {**reduced, "labels": np.asarray(labels)}


def test_batches_become_one_table_with_class_names(tmp_path):
    path = tmp_path / "predictions" / "test.parquet"
    with PredictionWriter(path, TASK, ANIMALS) as writer:
        writer(batch([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], [0, 2]))
        writer(batch([[0.0, 0.1, 0.9]], [1]))
        assert not path.exists()
    rows = pq.read_table(path).to_pylist()
    assert [(r["row"], r["label"], r["prediction"]) for r in rows] == [
        (0, "cat", "cat"),
        (1, "owl", "dog"),
        (2, "dog", "owl"),
    ]
    assert rows[2]["probability"] == pytest.approx(0.9)
    assert [entry["row"] for _, _, entry in sorted(writer.worst, reverse=True)] == [2, 1]


def test_only_the_worst_mistakes_are_kept_worst_first(tmp_path):
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.4, 1.0, size=200)
    with PredictionWriter(tmp_path / "p.parquet", TASK, ANIMALS) as writer:
        for p in sure:
            writer(batch([[p, 1 - p, 0.0]], [2]))
    write_worst(tmp_path / "w.parquet", writer.worst, range(200), lambda row: Image.new("L", (8, 8), row))
    worst = pq.read_table(tmp_path / "w.parquet").to_pylist()
    wrong_by = np.maximum(sure, 1 - sure)
    assert [r["row"] for r in worst] == np.argsort(-wrong_by)[:MAX_WORST].tolist()
    assert Image.open(io.BytesIO(worst[0]["image"])).getpixel((0, 0)) == worst[0]["row"]


def test_several_labels_per_row(tmp_path):
    labels = LabelSpace(problem_type="multi_label_classification", names=("red", "round"), num_labels=2)
    with PredictionWriter(tmp_path / "p.parquet", TASK, labels) as writer:
        writer(
            {
                "prediction": np.array([[1, 0], [1, 1]]),
                "probabilities": np.array([[0.9, 0.1], [0.6, 0.7]], dtype=np.float32),
                "labels": np.array([[1.0, 0.0], [0.0, 1.0]]),
            }
        )
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows[1]["label"] == ["round"]
    assert rows[1]["prediction"] == ["red", "round"]
    assert [entry["row"] for _, _, entry in writer.worst] == [1]


def test_regression_keeps_numbers_and_ranks_by_distance(tmp_path):
    labels = LabelSpace(problem_type="regression", names=(), num_labels=1)
    with PredictionWriter(tmp_path / "p.parquet", TASK, labels) as writer:
        writer({"prediction": np.array([1.0, 5.0]), "labels": np.array([1.5, 1.0])})
    assert pq.read_table(tmp_path / "p.parquet").to_pylist()[1] == {"row": 1, "label": 1.0, "prediction": 5.0}
    assert [entry["row"] for _, _, entry in sorted(writer.worst, reverse=True)] == [1, 0]


def test_an_error_leaves_no_half_table(tmp_path):
    def fail_after_a_batch():
        with PredictionWriter(tmp_path / "p.parquet", TASK, ANIMALS) as writer:
            writer(batch([[1.0, 0.0, 0.0]], [0]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_a_batch()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_last_moment_leaves_no_half_table(tmp_path, monkeypatch):
    close = pq.ParquetWriter.close

    def fail(self):
        close(self)
        raise OSError(errno.ENOSPC, "No space left on device")

    def write():
        with PredictionWriter(tmp_path / "p.parquet", TASK, ANIMALS) as writer:
            writer(batch([[1.0, 0.0, 0.0]], [0]))
            monkeypatch.setattr(pq.ParquetWriter, "close", fail)

    with pytest.raises(OSError, match="No space left"):
        write()
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
