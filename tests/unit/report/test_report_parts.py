"""The parts of the report: numbers in, numbers out."""

from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import run_folders
import soundfile
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support

from hf_finetune.report import read_run
from hf_finetune.report.axis import Axis, fit_axis, nice_ticks
from hf_finetune.report.chart import Series, build_chart
from hf_finetune.report.classes import build_confusion, score_labels
from hf_finetune.report.curves import Curve, build_curves, smooth, thin
from hf_finetune.report.mistakes import build_mistakes
from hf_finetune.report.record import RunRecord
from hf_finetune.report.regression import build_residuals
from hf_finetune.report.sections import build_scores
from hf_finetune.report.training import build_evaluations
from hf_finetune.secrecy import hide_secrets


def record(**parts) -> RunRecord:
    return RunRecord(folder=None, **parts)


# Curves


def test_a_resumed_log_counts_an_update_once():
    log = [
        {"loss": 3.0, "step": 1},
        {"loss": 2.0, "step": 2},
        {"loss": 1.5, "step": 2},
        {"loss": 1.0, "step": 3},
    ]
    assert build_curves(log)["loss"] == Curve((1.0, 2.0, 3.0), (3.0, 1.5, 1.0))


def test_null_and_nan_are_holes_and_times_are_no_curves():
    log = [
        {"loss": None, "step": 1},
        {"loss": math.nan, "step": 2},
        {"eval_loss": 1.0, "eval_runtime": 2.0, "step": 2},
    ]
    log += [{"train_runtime": 5.0, "train_loss": 0.3, "step": 2}]
    curves = build_curves(log)
    assert curves["loss"].holes == [1.0, 2.0]
    assert sorted(curves) == ["eval_loss", "loss"]


def test_thinning_keeps_ends_and_extremes():
    points = [(float(i), math.sin(i)) for i in range(50_000)]
    points[31_415] = (31_415.0, 99.0)
    thinned = thin(points)
    assert len(thinned) <= 600
    assert thinned[0] == points[0]
    assert thinned[-1] == points[-1]
    assert (31_415.0, 99.0) in thinned
    assert thinned == sorted(thinned)


def test_the_running_mean_is_one():
    points = [(float(i), float(i % 2)) for i in range(200)]
    inner = [value for step, value in smooth(points) if 20 < step < 180]
    assert all(abs(value - 0.5) < 0.1 for value in inner)
    assert [value for _, value in smooth([(0.0, 2.0), (1.0, 2.0), (2.0, 2.0)])] == [2.0, 2.0, 2.0]


def test_one_spike_does_not_spoil_the_mean_after_it():
    points = [(float(i), 1e30 if i == 10 else 1.0) for i in range(5_000)]
    assert smooth(points)[-1][1] == 1.0


# Axes and charts


@pytest.mark.parametrize(("low", "high"), [(0, 450), (0.43, 0.47), (1e-9, 3e-9), (-5, 5), (0, 1e6), (7, 7)])
def test_ticks_are_round_and_inside(low, high):
    ticks = nice_ticks(low, high)
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    assert 1 <= len(ticks) <= 11


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.2, 7, [0.2, 0.5, 1, 2, 5]),
        (0.02, 30, [0.03, 0.1, 0.3, 1, 3, 10, 30]),
        (1e-5, 3, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]),
        (1e-300, 1e300, [1e-300, 1e-179, 1e-58, 1e63, 1e184]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    assert Axis(low=low, high=high, is_log=True).ticks() == ticks


def test_an_axis_of_shares_ends_at_one_and_of_losses_at_zero():
    assert fit_axis([0.5, 0.999]).high == 1.0
    assert fit_axis([0.001, 5.0]).low == 0.0
    assert not fit_axis([1.0, 10.0, 30.0]).is_log
    assert fit_axis([1.0] * 50 + [1000.0]).is_log
    assert Axis(low=1, high=100, is_log=True).at(10) == pytest.approx(0.5)


def test_a_hole_breaks_the_line_and_is_marked():
    curve = Curve((1, 2, 3, 4, 5, 6), (5.0, 4.0, math.nan, 3.0, 2.0, math.inf))
    chart = build_chart("Loss", [Series(name="train", curve=curve, style="train")], best_step=5)
    (line,) = chart.lines
    assert [len(points.split()) for points in line.segments] == [2, 2]
    assert chart.holes == [50, 100]
    assert chart.best_at == pytest.approx(83.33)
    assert "lowest 2.0000 at update 5" in chart.description


def test_a_best_step_beyond_the_curve_is_not_drawn():
    curve = Curve((1.0,), (5.0,))
    assert build_chart("Loss", [Series(name="a", curve=curve, style="eval")], best_step=9).best_at is None
    assert build_chart("Loss", [Series(name="a", curve=Curve((1.0,), (math.nan,)), style="eval")]) is None


def test_what_is_read_out_cannot_end_its_script():
    curve = Curve((1.0, 2.0), (5.0, 4.0))
    chart = build_chart("x", [Series(name="</script><!--", curve=curve, style="eval")])
    assert "<" not in chart.hover
    assert json.loads(chart.hover)["lines"][0]["name"] == "</script><!--"


# Classes


def test_the_class_table_agrees_with_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 6, 500), rng.integers(0, 7, 500)  # class 6 is never true, 7 classes in all
    counts = np.zeros((7, 7), dtype=int)
    np.add.at(counts, (true, said), 1)
    names = [f"class {i}" for i in range(7)]
    found = build_confusion(
        record(scores={"details": {"eval": {"confusion_matrix": counts.tolist()}}, "labels": names})
    )
    assert found.split == "eval"
    assert (found.num_rows, found.num_right) == (500, int((true == said).sum()))
    wanted = precision_recall_fscore_support(true, said, labels=range(7), zero_division=0)
    for i, one in enumerate(found.per_class):
        values = [one.precision or 0.0, one.recall or 0.0, one.f1 or 0.0, one.support]
        assert values == pytest.approx([column[i] for column in wanted])
    assert found.per_class[6].recall is None


def test_the_pairs_are_the_most_confused_ones():
    counts = [[5, 2, 0], [0, 9, 7], [1, 0, 0]]
    found = build_confusion(
        record(scores={"details": {"test": {"confusion_matrix": counts}}, "labels": ["a", "b", "c"]})
    )
    assert [(pair.true, pair.predicted, pair.count) for pair in found.pairs] == [
        ("b", "c", 7),
        ("a", "b", 2),
        ("c", "a", 1),
    ]
    assert found.pairs[0].share == pytest.approx(7 / 16)
    assert [[cell.count for cell in row] for row in found.cells] == counts


@pytest.mark.parametrize("is_named", [True, False])
def test_without_a_matrix_the_predictions_are_counted(is_named):
    names = ["cat", "dog"]
    true, said = [0, 0, 1, 1], [0, 1, 1, 1]
    if is_named:
        true, said = [names[i] for i in true], [names[i] for i in said]
    found = build_confusion(record(scores={"labels": names}, predictions={"label": true, "prediction": said}))
    assert [[cell.count for cell in row] for row in found.cells] == [[1, 1], [0, 2]]


def test_many_classes_become_a_picture():
    counts = np.eye(300, dtype=int) * 10
    counts[17, 250] = 4
    scores = {
        "details": {"test": {"confusion_matrix": counts.tolist()}},
        "labels": [str(i) for i in range(300)],
    }
    found = build_confusion(record(scores=scores))
    assert found.cells == []
    pixels = np.asarray(Image.open(io.BytesIO(found.heat_map)))
    assert pixels.shape == (150, 150, 4)
    assert (pixels[..., 3] > 0).sum() == 151  # the diagonal and one block
    red, _, blue, strength = pixels[8, 125]
    assert red > blue
    assert strength > 100
    assert [one.name for one in found.per_class[:2]] == ["17", "250"]  # the lowest f1 first


def test_the_label_table_agrees_with_scikit_learn(tmp_path):
    run_folders.make_multi_label_run(tmp_path)
    run = read_run(tmp_path)
    names = run.scores["labels"]
    true, said = (
        np.array([[name in row for name in names] for row in run.predictions[key]])
        for key in ("label", "prediction")
    )
    wanted = precision_recall_fscore_support(true, said, zero_division=0)
    for i, one in enumerate(score_labels(run)):
        assert [one.precision, one.recall, one.f1, one.support] == pytest.approx(
            [column[i] for column in wanted]
        )


def test_labels_may_be_zeros_and_ones():
    scores = {"labels": ["a", "b"], "problem_type": "multi_label_classification"}
    predictions = {"label": [[1, 0], [1, 1]], "prediction": [[1, 0], [0, 1]]}
    first, second = score_labels(record(scores=scores, predictions=predictions))
    assert (first.recall, first.precision, second.f1) == (0.5, 1.0, 1.0)


# Regression


@pytest.mark.parametrize("num_targets", [1, 3])
def test_residuals(tmp_path, num_targets):
    run_folders.make_regression_run(tmp_path, num_targets=num_targets)
    run = read_run(tmp_path)
    targets = build_residuals(run)
    assert len(targets) == num_targets
    true, said = (np.array(run.predictions[key]).reshape(3000, -1)[:, -1] for key in ("label", "prediction"))
    last = targets[-1]
    assert last.mae == pytest.approx(np.abs(said - true).mean())
    assert last.rmse == pytest.approx(np.sqrt(((said - true) ** 2).mean()))
    assert last.r2 == pytest.approx(1 - ((said - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())
    assert [len(chart.dots) <= 1300 for chart in last.charts] == [True, True]


def test_rows_that_are_no_numbers_are_left_out_and_counted():
    predictions = {"label": [1.0, math.nan, 3.0, None, 1e200], "prediction": [1.0, 2.0, math.inf, 1.0, 1.0]}
    (target,) = build_residuals(record(scores={"problem_type": "regression"}, predictions=predictions))
    assert (target.num_rows, target.num_lost, target.mae, target.r2) == (1, 4, 0.0, None)


# Mistakes


def write_worst(folder, rows):
    (folder / "predictions").mkdir(exist_ok=True)
    (folder / "scores.json").write_text(json.dumps({"labels": ["cat", "dog"], "test": {"loss": 1.0}}))
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "worst.parquet")
    return build_mistakes(read_run(folder))


def test_a_mistake_says_how_sure_the_model_was(tmp_path):
    row = {
        "row": 1437,
        "label": "cat",
        "prediction": "dog",
        "probability": 0.9999,
        "probabilities": [0.0001, 0.9999],
    }
    (card,) = write_worst(tmp_path, [row])
    assert (card.true, card.predicted, card.row) == ("cat", "dog", "1,437")
    assert (card.predicted_share, card.true_share, card.image) == ("> 99.9 %", "< 0.1 %", "")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_every_mode_are_made_small(tmp_path, mode):
    buffer = io.BytesIO()
    Image.new(mode, (900, 300)).save(buffer, format="PNG")
    (card,) = write_worst(tmp_path, [{"row": 0, "label": 0, "prediction": 1, "image": buffer.getvalue()}])
    kind, _, content = card.image.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) == 224
    assert (card.true, card.predicted, card.is_small) == ("cat", "dog", False)


def test_what_is_no_picture_does_not_get_in(tmp_path):
    cards = write_worst(
        tmp_path, [{"row": 0, "label": "cat", "prediction": "dog", "image": b"<svg onload='x'/>"}]
    )
    assert cards[0].image == ""


def test_only_so_many_pictures_fit(tmp_path):
    rng = np.random.default_rng(0)
    noise = run_folders.png(rng.integers(0, 255, (224, 224, 4), dtype=np.uint8))
    rows = [{"row": i, "label": "cat", "prediction": "dog", "image": noise} for i in range(30)]
    cards = write_worst(tmp_path, rows)
    assert len(cards) == 24
    assert sum(len(card.image) for card in cards) < 1_500_000
    assert cards[0].image
    assert not cards[-1].image


# Tables


def make_sounds(seconds: float, count: int, rate: int = 16000) -> list[bytes]:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate), 2))
    soundfile.write(buffer, noise, rate, format="WAV")
    return [buffer.getvalue()] * count


def test_sounds_are_made_short_flac_of_one_channel(tmp_path):
    (card,) = write_worst(
        tmp_path, [{"row": 1, "label": "cat", "prediction": "dog", "audio": make_sounds(20.0, 1)[0]}]
    )
    kind, content = card.sound.split(";base64,")
    assert kind == "data:audio/flac"
    with soundfile.SoundFile(io.BytesIO(base64.b64decode(content))) as file:
        assert (file.frames, file.channels, file.samplerate) == (15 * 16000, 1, 16000)


def test_what_is_no_sound_does_not_get_in(tmp_path):
    rows = [{"row": i, "audio": content} for i, content in enumerate([b"<script>", b"", None, 5])]
    for row in rows:
        assert write_worst(tmp_path, [row])[0].sound == ""


def test_damaged_pictures_and_sounds_cost_no_report(tmp_path):
    rng = np.random.default_rng(0)
    picture = run_folders.png(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    sound = make_sounds(0.1, 1)[0]
    for whole, column, field in ((picture, "image", "image"), (sound, "audio", "sound")):
        rows = []
        for i in range(24):
            damaged = bytearray(whole)
            damaged[int(rng.integers(64))] ^= 0xFF
            rows.append({"row": i, column: bytes(damaged[: int(rng.integers(1, len(damaged)))])})
        assert not all(getattr(card, field) for card in write_worst(tmp_path, rows))


def test_only_so_many_sounds_fit(tmp_path):
    rows = [{"row": i, "audio": content} for i, content in enumerate(make_sounds(15.0, 24))]
    cards = write_worst(tmp_path, rows)
    sizes = [len(card.sound) for card in cards]
    assert sizes[0] > 0
    assert sizes[-1] == 0
    assert sum(sizes) < 4_000_000


def test_the_baseline_stands_beside_the_scores():
    scores = {
        "best": {"metric": "eval_f1"}, "test": {"f1": 0.9, "loss": 0.2, "runtime": 3.0}, "eval": {"f1": 0.8},
        "baseline": {"test": {"f1": 0.7}},
    }  # fmt: skip
    table = build_scores(record(scores=scores))
    assert table.groups == [
        ("test split", ["fine-tuned", "from random weights", "difference"]),
        ("eval split", ["fine-tuned"]),
    ]
    assert table.rows == [
        ("f1", ["0.9000", "0.7000", "+0.2000", "0.8000"]),
        ("loss", ["0.2000", "-", "-", "-"]),
    ]


def test_evaluations_are_thinned_and_keep_the_best_and_the_last():
    log = tuple({"eval_loss": 1.0, "step": step, "epoch": step / 10} for step in range(1, 502))
    table = build_evaluations(record(log=log, scores={"best": {"step": 123}}))
    assert table.num_all == 501
    assert len(table.rows) <= 41
    assert [values[0] for is_best, values in table.rows if is_best] == ["123"]
    assert table.rows[-1][1] == ["501", "50.10", "1.0000"]


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("  hub_token: abc", "  hub_token: (hidden)"),
        ('{"api_key": "x y"}', '{"api_key": "(hidden)"}'),
        ("- password: a # b", "- password: (hidden)"),
        ("hub_token: null", "hub_token: null"),
        ("pad_token: x", "pad_token: x"),
        ("path: hf_" + "a1" * 10, "path: (hidden)"),
        ("path: hf_finetune/recipes", "path: hf_finetune/recipes"),
    ],
)
def test_secrets_are_hidden(line, hidden):
    assert hide_secrets(line) == hidden
