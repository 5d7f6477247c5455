"""Run folders as a run leaves them, made in a moment: a linear model trained on scikit-learn's digits."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits

DIGITS = tuple("0123456789")
PLANTED = "hf_" + "planted" * 4  # has the form of a token, and is put together here so that no file has one
RECIPE = """\
# yaml-language-server: $schema=../hf_finetune/recipe/schema.json
task: image-classification
model:
  checkpoint: recipes/quickstart/checkpoint
data:
  path: digits
  splits: {train: train, eval: eval, test: test}
metrics: [accuracy, {name: f1, average: macro}]
engine: trainer
training:
  output_dir: runs/quickstart
  learning_rate: 0.5
  max_steps: 450
  metric_for_best_model: accuracy
  hub_token: PLANTED
baseline: from-scratch
""".replace("PLANTED", PLANTED)
ENVIRONMENT = {
    "started": "2026-11-24T07:01:12+00:00",
    "command": ["hf-finetune", "run", "recipes/quickstart.yaml"],
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "python": "3.11.7",
    "platform": "Linux x86_64",
    "packages": {"torch": "2.13.0", "transformers": "5.23.0", "datasets": "5.2.0", "peft": None},
    "num_processes": 1,
    "cpu": "Intel(R) Xeon(R) Processor",
    "accelerators": [],
    "seeds": {"seed": 42, "data_seed": 42},
    "data": {"path": "digits", "fingerprint": "4f1d2c5b8a9e0f37"},
    "dropped_rows": {"train": [[17, "truncated"], [23, "truncated"]], "test": []},
}


def softmax(logits: np.ndarray) -> np.ndarray:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


class Digits:
    """A softmax regression; `start` are its weights at the beginning."""

    def __init__(self) -> None:
        data = load_digits()
        order = np.random.default_rng(0).permutation(len(data.target))
        self.images = (data.images[order] * 15.9).astype(np.uint8)
        self.x, self.y = data.data[order] / 16, data.target[order]
        self.parts = {"train": slice(0, 1077), "eval": slice(1077, 1437), "test": slice(1437, 1797)}

    def scores(self, weights: np.ndarray, split: str) -> dict[str, float]:
        x, y = self.x[self.parts[split]], self.y[self.parts[split]]
        p = softmax(x @ weights)
        said = p.argmax(axis=1)
        counts = self.confusion(weights, split)
        f1 = 2 * counts.diagonal() / np.maximum(1, counts.sum(axis=0) + counts.sum(axis=1))
        loss = -np.log(np.maximum(1e-12, p[np.arange(len(y)), y])).mean()
        return {"loss": float(loss), "accuracy": float((said == y).mean()), "f1": float(f1.mean())}

    def confusion(self, weights: np.ndarray, split: str) -> np.ndarray:
        x, y = self.x[self.parts[split]], self.y[self.parts[split]]
        counts = np.zeros((10, 10), dtype=int)
        np.add.at(counts, (y, (x @ weights).argmax(axis=1)), 1)
        return counts

    def train(
        self, start: np.ndarray, *, updates: int, eval_every: int
    ) -> tuple[list[dict[str, float]], np.ndarray, int]:
        rng = np.random.default_rng(1)
        weights, best, best_step = start.copy(), start.copy(), 0
        log: list[dict[str, float]] = []
        x, y = self.x[self.parts["train"]], self.y[self.parts["train"]]
        for step in range(1, updates + 1):
            rows = rng.integers(0, len(x), 32)
            p = softmax(x[rows] @ weights)
            loss = -np.log(np.maximum(1e-12, p[np.arange(32), y[rows]])).mean()
            p[np.arange(32), y[rows]] -= 1
            gradient = x[rows].T @ p / 32
            rate = 0.5 * math.sin(math.pi * min(1, 0.15 + 0.85 * step / updates))
            weights -= rate * gradient
            epoch = round(step * 32 / len(x), 4)
            log.append(
                {
                    "loss": float(loss),
                    "grad_norm": float(np.linalg.norm(gradient)),
                    "learning_rate": rate,
                    "epoch": epoch,
                    "step": step,
                }
            )
            if step % eval_every == 0:
                found = self.scores(weights, "eval")
                log.append(
                    {
                        **{f"eval_{k}": v for k, v in found.items()},
                        "eval_runtime": 0.11,
                        "eval_samples_per_second": 3272.7,
                        "eval_steps_per_second": 109.1,
                        "epoch": epoch,
                        "step": step,
                    }
                )
                if found["accuracy"] > self.scores(best, "eval")["accuracy"]:
                    best, best_step = weights.copy(), step
        log.append(
            {"train_runtime": 10.4, "train_samples_per_second": 1384.6, "train_loss": 0.4, "step": updates}
        )
        return log, best, best_step


def write_log(path: Path, log: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in log))


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def make_digits_run(
    folder: Path,
    *,
    updates: int = 450,
    names: tuple[str, ...] = DIGITS,
    has_test: bool = True,
    has_baseline: bool = True,
) -> dict[str, Any]:
    """Write the folder of a finished run and return its scores."""
    digits = Digits()
    rng = np.random.default_rng(2)
    start = digits.train(rng.normal(0, 0.05, (64, 10)), updates=60, eval_every=60)[1] * 0.4
    log, best, best_step = digits.train(start, updates=updates, eval_every=max(1, updates // 15))
    (folder / "best").mkdir(parents=True)
    (folder / "predictions").mkdir()
    (folder / f"checkpoint-{updates}").mkdir()
    write_json(folder / f"checkpoint-{updates}" / "trainer_state.json", {"max_steps": updates})
    (folder / "recipe.yaml").write_text(RECIPE)
    write_json(folder / "environment.json", ENVIRONMENT)
    write_log(folder / "log.jsonl", log)
    splits = ("eval", "test") if has_test else ("eval",)
    scores: dict[str, Any] = {
        "best": {
            "metric": "accuracy",
            "value": digits.scores(best, "eval")["accuracy"],
            "step": best_step,
            "split": "eval",
        },
        **{split: digits.scores(best, split) for split in splits},
        "details": {split: {"confusion_matrix": digits.confusion(best, split).tolist()} for split in splits},
        "labels": list(names),
        "problem_type": "single_label_classification",
        "train": {
            "runtime_s": 10.4,
            "samples_per_second": 1384.6,
            "updates": updates,
            "num_parameters": 139_402,
            "num_trained": 139_402,
        },
        "baseline": None,
    }
    if has_baseline:
        base_log, base, _ = digits.train(
            rng.normal(0, 0.9, (64, 10)), updates=updates, eval_every=max(1, updates // 15)
        )
        write_log(folder / "baseline.log.jsonl", base_log)
        scores["baseline"] = {
            "name": "from-scratch",
            **{split: digits.scores(base, split) for split in splits},
        }
    write_json(folder / "scores.json", scores)
    split = splits[-1]
    x, y, images = (a[digits.parts[split]] for a in (digits.x, digits.y, digits.images))
    p = softmax(x @ best)
    said = p.argmax(axis=1)
    rows = [
        {
            "row": i,
            "label": names[y[i]],
            "prediction": names[said[i]],
            "probability": float(p[i, said[i]]),
            "probabilities": p[i].tolist(),
        }
        for i in range(len(y))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / f"{split}.parquet")
    wrong = sorted(
        (row for row in rows if row["label"] != row["prediction"]), key=lambda row: -row["probability"]
    )[:24]
    if wrong:
        worst = [{**row, "image": png(images[row["row"]])} for row in wrong]
        pq.write_table(pa.Table.from_pylist(worst), folder / "predictions" / "worst.parquet")
    return scores


def make_regression_run(folder: Path, *, num_targets: int = 1, num_rows: int = 3000) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    true = rng.gamma(4, 8, (num_rows, num_targets))
    said = true * 0.93 + 2 + rng.standard_t(4, true.shape) * 2.5
    (folder / "predictions").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(
        RECIPE.replace("accuracy, {name: f1, average: macro}", "mae").replace("accuracy", "mae")
    )
    log = [
        {
            "loss": 60 * math.exp(-step / 80) + 6 + rng.normal(0, 0.5),
            "grad_norm": 1.0,
            "learning_rate": 5e-5,
            "step": step,
        }
        for step in range(10, 401, 10)
    ] + [
        {"eval_loss": 62 * math.exp(-step / 80) + 7, "eval_mae": 9 * math.exp(-step / 90) + 2, "step": step}
        for step in range(50, 401, 50)
    ]
    write_log(folder / "log.jsonl", log)
    scores = {
        "best": {"metric": "mae", "value": 2.1, "step": 400, "split": "eval"},
        "eval": {"loss": 7.1, "mae": 2.1},
        "test": {"loss": 7.3, "mae": 2.2},
        "details": {},
        "labels": [],
        "problem_type": "regression",
        "train": {"runtime_s": 3_812.0, "samples_per_second": 41.2, "updates": 400},
        "baseline": None,
    }
    write_json(folder / "scores.json", scores)
    plain = num_targets == 1
    table = {
        "row": list(range(num_rows)),
        "label": (true[:, 0] if plain else true).tolist(),
        "prediction": (said[:, 0] if plain else said).tolist(),
    }
    pq.write_table(pa.table(table), folder / "predictions" / "test.parquet")
    worst = np.argsort(-np.abs(said - true).max(axis=1))[:6]
    faces = load_digits().images
    rows = [
        {k: v[i] for k, v in table.items()} | {"image": png((faces[i % 1797] * 15).astype(np.uint8))}
        for i in worst
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "worst.parquet")
    return scores


def make_multi_label_run(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    names = ("outdoor", "person", "animal", "vehicle", "food", "text", "night")
    truth = rng.random((500, len(names))) < np.array([0.6, 0.5, 0.3, 0.25, 0.2, 0.15, 0.02])
    p = np.clip(truth * 0.6 + 0.2 + rng.normal(0, 0.18, truth.shape), 0, 1)
    said = p > 0.5
    (folder / "predictions").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    scores = {
        "best": {"metric": "f1", "value": 0.91, "step": 300, "split": "eval"},
        "eval": {"loss": 0.2, "f1": 0.91},
        "test": {"loss": 0.21, "f1": 0.9},
        "details": {},
        "labels": list(names),
        "problem_type": "multi_label_classification",
        "train": {"runtime_s": 75.0, "updates": 300},
        "baseline": None,
    }
    write_json(folder / "scores.json", scores)
    rows = [
        {
            "row": i,
            "label": [n for n, t in zip(names, truth[i], strict=True) if t],
            "prediction": [n for n, s in zip(names, said[i], strict=True) if s],
            "probabilities": p[i].tolist(),
        }
        for i in range(len(truth))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "test.parquet")
    picture = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    wrong = [{**row, "image": png(picture)} for row in rows if row["label"] != row["prediction"]][:4]
    pq.write_table(pa.Table.from_pylist(wrong), folder / "predictions" / "worst.parquet")
    return scores


def make_large_run(folder: Path, *, num_classes: int = 1000, num_entries: int = 100_000) -> dict[str, Any]:
    """A thousand classes, a hundred thousand log entries, photographs of mistakes."""
    rng = np.random.default_rng(5)
    (folder / "predictions").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    write_json(folder / "environment.json", ENVIRONMENT)
    counts = np.diag(rng.integers(20, 50, num_classes))
    sources = rng.integers(0, num_classes, 6 * num_classes)
    np.add.at(counts, (sources, (sources + rng.integers(1, 9, len(sources)) ** 2) % num_classes), 1)
    if num_classes > 8:
        counts[7, 8] += 19
    names = [f"n{i:08d} a synset with quite a long name, number {i}" for i in range(num_classes)]
    loss = 6.9 * np.exp(-np.arange(num_entries) / num_entries * 3) + 0.6 + rng.gamma(2, 0.1, num_entries)
    with (folder / "log.jsonl").open("w") as log:
        for i in range(num_entries):
            step = 10 * (i + 1)
            norm = float(rng.gamma(2, 0.5)) * (400 if i % 9973 == 0 else 1)
            log.write(
                json.dumps(
                    {
                        "loss": float(loss[i]),
                        "grad_norm": norm,
                        "learning_rate": 1e-3 * (1 - i / num_entries),
                        "step": step,
                    }
                )
                + "\n"
            )
            if (i + 1) % 500 == 0:
                share = i / num_entries
                log.write(
                    json.dumps(
                        {"eval_loss": float(loss[i]) + 0.2, "eval_accuracy": 0.8 * share**0.3, "step": step}
                    )
                    + "\n"
                )
    accuracy = float(counts.trace() / counts.sum())
    scores = {
        "best": {"metric": "accuracy", "value": accuracy, "step": 10 * num_entries, "split": "eval"},
        "eval": {"loss": 0.9, "accuracy": accuracy},
        "test": {"loss": 0.9, "accuracy": accuracy},
        "details": {"test": {"confusion_matrix": counts.tolist()}},
        "labels": names,
        "problem_type": "single_label_classification",
        "train": {
            "runtime_s": 200_000.0,
            "samples_per_second": 812.0,
            "updates": 10 * num_entries,
            "num_parameters": 86_567_656,
            "num_trained": 86_567_656,
        },
        "baseline": None,
    }
    write_json(folder / "scores.json", scores)
    rows = []
    for i in range(24):
        photo = np.kron(
            rng.integers(0, 255, (24, 32, 3), dtype=np.uint8), np.ones((20, 20, 1), dtype=np.uint8)
        )
        noisy = (photo.astype(int) + rng.integers(-30, 30, photo.shape)).clip(0, 255).astype(np.uint8)
        rows.append(
            {
                "row": 100 * i,
                "label": names[i],
                "prediction": names[i + 1],
                "probability": 0.999 - i / 100,
                "image": png(noisy),
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "worst.parquet")
    return scores


def make_unfinished_run(folder: Path) -> None:
    """Interrupted in the middle of a line, after a loss that was not a number; nothing is scored yet."""
    log = Digits().train(np.zeros((64, 10)), updates=120, eval_every=30)[0][:-1]
    for entry in log:
        if 60 <= entry["step"] < 64 and "loss" in entry:
            entry["loss"], entry["grad_norm"] = None, None
    (folder / "checkpoint-90").mkdir(parents=True)
    write_json(
        folder / "checkpoint-90" / "trainer_state.json",
        {"max_steps": 450, "best_metric": 0.87, "best_global_step": 90},
    )
    (folder / "checkpoint-120").mkdir()
    (folder / "checkpoint-120" / "trainer_state.json").write_text('{"max_st')
    (folder / "recipe.yaml").write_text(RECIPE)
    write_log(folder / "log.jsonl", log)
    with (folder / "log.jsonl").open("a") as lines:
        lines.write('{"loss": 0.4, "st')


HOSTILE = (
    "<script>window.hacked = 1</script>",
    "\"' onerror='window.hacked = 2",
    "</title></style></script><img src=x onerror=alert(1)>",
    "a very long class name " * 30,
    "לא נכון",
    "نعم \u202e reversed",
    "{{ 7 * 7 }} {% raw %}",
    "\ud800 lone surrogate",
    "line\nbreak\x00\x1b[31m",
    "",
)


def share_rows(folder: Path) -> tuple[str, str, str]:
    """Say in a run folder that rows are in two splits; return the two sentences and the example."""
    overlap = "test is the training data (train): its scores say nothing about data the model has not seen"
    what = "2 of the 9 rows of eval have the same input as a row of train"
    example = "eval row 4 (val/a_*b*.png) is train row 3 (cat/<i>.png)"
    shared = {"what": what, "rows": 2, "splits": ["train", "eval"], "examples": [example]}
    repeated = {"what": "1 row repeats within train", "rows": 1, "splits": [], "examples": ["row 1 is row 0"]}
    environment = json.loads((folder / "environment.json").read_text())
    environment |= {"overlaps": [overlap], "duplicates": [shared, repeated]}
    write_json(folder / "environment.json", environment)
    return overlap, what, example


def make_hostile_run(folder: Path) -> dict[str, Any]:
    """Every string that comes from outside is an attack or a nuisance."""
    scores = make_digits_run(folder)
    bad = HOSTILE[2]
    scores["labels"] = list(HOSTILE)
    scores["test"][HOSTILE[0]] = 0.5
    write_json(folder / "scores.json", scores)
    told = {"what": bad, "rows": 1, "splits": ["train", "eval"], "examples": [HOSTILE[0], HOSTILE[5]]}
    data = {"overlaps": [HOSTILE[0], HOSTILE[8]], "duplicates": [told, {}, {"examples": 3, "splits": 1}, 5]}
    write_json(folder / "environment.json", {"platform": HOSTILE[0], bad: bad, "started": bad, **data})
    (folder / "recipe.yaml").write_text(
        f"task: {json.dumps(bad)}\nmodel: {{checkpoint: {json.dumps(HOSTILE[0])}}}\n"
        "# </pre><script>window.hacked = 3</script>\n"
    )
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps({"eval_</script><script>window.hacked = 4</script>": 0.5, "step": 30}) + "\n")
        log.write(json.dumps({"eval_</script><script>window.hacked = 4</script>": 0.7, "step": 60}) + "\n")
    rows = [
        {
            "row": i,
            "label": name.encode("utf-8", "replace").decode(),
            "prediction": HOSTILE[1],
            "probability": 0.9,
            "image": image,
        }
        for i, (name, image) in enumerate(
            zip(
                HOSTILE,
                [b"<svg onload='alert(1)'/>", b"", None, png(np.zeros((8, 8), np.uint8))] + [b"x"] * 6,
                strict=True,
            )
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "predictions" / "worst.parquet")
    return scores
