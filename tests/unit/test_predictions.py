import errno
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_finetune.errors import UserError
from hf_finetune.predicting.outputs import CHUNK, Output
from hf_finetune.predictions import MAX_WORST, PredictionWriter, write_worst
from hf_finetune.recipe import TaskSpec
from hf_finetune.tables import TableWriter
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


def test_a_full_disk_at_the_last_moment_leaves_no_half_table_and_costs_no_evaluation(tmp_path, monkeypatch):
    close = pq.ParquetWriter.close

    def fail(self):
        close(self)
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "p.parquet").write_text("of the run before, whose scores these are not")
    with PredictionWriter(tmp_path / "p.parquet", TASK, ANIMALS) as writer:
        writer(batch([[1.0, 0.0, 0.0]], [0]))
        monkeypatch.setattr(pq.ParquetWriter, "close", fail)
    monkeypatch.undo()
    assert writer.failure.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_made_costs_no_evaluation(tmp_path):
    with PredictionWriter(tmp_path / "p.parquet", TASK, ANIMALS) as writer:
        writer({"labels": np.array([0])})  # a task that forgot its predictions
        writer(batch([[1.0, 0.0, 0.0]], [0]))
    assert isinstance(writer.failure, KeyError)
    (tmp_path / "p.parquet").write_text("of the run before")
    with PredictionWriter(tmp_path / "p.parquet", TASK, ANIMALS, facts=lambda: 1 / 0) as writer:
        writer(batch([[1.0, 0.0, 0.0]], [0]))
    assert isinstance(writer.failure, ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []


def test_no_batch_decides_the_types_of_the_columns(tmp_path):
    labels = LabelSpace(problem_type="multi_label_classification", names=("red", "round"), num_labels=2)

    def of(truth, prediction):
        both = {"labels": np.array([truth], float), "prediction": np.array([prediction])}
        return {**both, "probabilities": np.array([[0.25, 0.75]], dtype=np.float32)}

    with PredictionWriter(tmp_path / "p.parquet", TASK, labels) as writer:
        writer(of([0, 0], [0, 0]))  # nothing is there, nothing is predicted
        writer(of([0, 1], [1, 1]))
    assert writer.failure is None
    assert pq.read_table(tmp_path / "p.parquet").to_pylist() == [
        {"row": 0, "label": [], "prediction": [], "probabilities": [0.25, 0.75]},
        {"row": 1, "label": ["round"], "prediction": ["red", "round"], "probabilities": [0.25, 0.75]},
    ]
    with PredictionWriter(tmp_path / "p.parquet", TASK, labels) as writer:
        writer(of([0, 0], [0, 0]))
    text = pa.list_(pa.string())  # also where no row says so
    assert pq.read_schema(tmp_path / "p.parquet").field("prediction").type.value_type == text.value_type


def test_columns_of_a_task_of_the_users_may_say_their_types_late(tmp_path):
    batches = [
        {"row": [0, 1], "note": [None, None], "words": [[], []], "score": [1, 2], "at": [{"x": 1}, None]},
        {
            "row": [2],
            "note": ["b"],
            "words": [["c"]],
            "score": [0.5],
            "at": [{"x": 0.5, "y": "d"}],
            "new": [7],
        },
        {"row": [3], "note": [None], "words": [[]], "score": [3], "at": [None], "new": [None]},
    ]
    writer = TableWriter(tmp_path / "t.parquet")
    for columns in batches:
        writer.write(columns)
    writer.close()
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"row": 0, "note": None, "words": [], "score": 1.0, "at": {"x": 1.0, "y": None}, "new": None},
        {"row": 1, "note": None, "words": [], "score": 2.0, "at": None, "new": None},
        {"row": 2, "note": "b", "words": ["c"], "score": 0.5, "at": {"x": 0.5, "y": "d"}, "new": 7},
        {"row": 3, "note": None, "words": [], "score": 3.0, "at": None, "new": None},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_answers_of_predict_may_say_their_types_late(tmp_path):
    answers = [{"row": i, "words": [], "mark": None} for i in range(CHUNK)]
    answers += [{"row": CHUNK, "words": [{"word": "yes", "start": 0.5}], "mark": "x", "more": 1}]
    with Output(tmp_path / "said.parquet") as output:
        for answer in answers:
            output.write(answer)
    rows = pq.read_table(tmp_path / "said.parquet").to_pylist()
    assert rows[0] == {"row": 0, "words": [], "mark": None, "more": None}
    assert rows[-1] == answers[-1]


def test_a_header_that_is_out_loses_no_column(tmp_path):
    def write():
        with Output(tmp_path / "said.csv") as output:
            output.write({"row": 0})
            output.write({"row": 1, "more": 1})

    with pytest.raises(UserError, match="row 1 has a column that the first row has not: more"):
        write()
    assert not (tmp_path / "said.csv").exists()
