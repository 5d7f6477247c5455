"""The results of other tasks: sounds to hear, texts to read, and a run without a mistake."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from tracking.archives import read_archives

from hf_finetune.run_folder import RunFolder, write_json
from hf_finetune.tracking.comet_results import log_results

SCORES = {
    "best": {"metric": "wer", "value": 0.5, "step": 8, "split": "eval"},
    "test": {"wer": 0.5},
    "details": {},
}


@pytest.fixture
def log(tmp_path):
    """Log the results of a run folder to an experiment, and return its archive."""
    import comet_ml

    def log(worst, scores=SCORES, predictions=None):
        folder = RunFolder(tmp_path)
        if predictions:
            folder.worst.parent.mkdir()
            pq.write_table(pa.table(predictions), folder.predictions("test"))
        if worst:
            folder.worst.parent.mkdir()
            pq.write_table(pa.Table.from_pylist(worst), folder.worst)
        write_json(folder.scores, scores)
        target = tmp_path / "tracking" / "comet"
        target.mkdir(parents=True)
        experiment = comet_ml.OfflineExperiment(
            offline_directory=str(target),
            log_code=False,
            log_env_details=False,
            log_git_metadata=False,
            log_git_patch=False,
            auto_output_logging=False,
            display_summary_level=0,
        )
        log_results(experiment, folder, scores, log_model=True)
        experiment.end()
        (archive,) = read_archives(tmp_path)
        return archive

    return log


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_sounds(log, kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(800) / 9) / 2, 8000, format=kind)
    archive = log([{"row": 3, "label": "yes", "prediction": "no", "audio": buffer.getvalue()}])
    name = f"worst-01.{kind.lower()}"
    assert ("audio", name) in archive.uploads
    assert archive.files[name] == buffer.getvalue()
    (row,) = csv.DictReader(io.StringIO(archive.files["worst.csv"].decode()))
    assert row == {"row": "3", "label": "yes", "prediction": "no"}


def test_texts(log):
    row = {"row": 7, "label": "two, three", "prediction": "to tree", "wer": 1.0}
    archive = log([row])
    assert archive.files["worst.csv"].decode().splitlines()[1] == '7,"two, three",to tree,1.0'
    (text,) = [upload for upload in archive.messages["file_upload"] if upload["upload_type"] == "text-sample"]
    assert text["metadata"] == {
        "rank": 1,
        "row": 7,
        "label": "two, three",
        "prediction": "to tree",
        "wer": 1.0,
    }
    assert archive.metrics == [
        ("scores/best/step", 8, 8),
        ("scores/best/value", 0.5, 8),
        ("scores/test/wer", 0.5, 8),
    ]


def test_no_mistake_and_a_matrix_for_each_label(log):
    scores = SCORES | {"labels": ["a", "b"], "details": {"test": {"confusion_matrix": [[3, 0], [0, 5]]}}}
    archive = log([], scores)
    assert json.loads(archive.files["confusion-matrix-test.json"])["matrix"] == [[3, 0], [0, 5]]
    assert "worst.csv" not in archive.files


def test_a_matrix_that_no_metric_has_counted(log):
    predictions = {"label": ["a", "b", "b", "c"], "prediction": ["a", "a", "b", "c"], "row": [0, 1, 2, 3]}
    archive = log([], SCORES | {"labels": ["a", "b", "c"]}, predictions)
    matrix = json.loads(archive.files["confusion-matrix-test.json"])
    assert matrix["matrix"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert matrix["labels"] == ["a", "b", "c"]


@pytest.mark.parametrize("values", [[0.5, 1.5], [["a"], ["a", "b"]], ["two words", "other words"]])
def test_no_matrix_where_there_are_no_classes(log, values):
    archive = log([], SCORES | {"labels": ["a", "b"]}, {"label": values, "prediction": values})
    assert not [kind for kind, _ in archive.uploads if kind == "confusion-matrix"]
