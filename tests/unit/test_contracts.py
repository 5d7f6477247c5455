"""What every registered thing must do. A new one is tested here as soon as it has its decorator."""

from __future__ import annotations

import inspect
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import ImageClassifierOutput

from hf_finetune.augment import AUGMENTATIONS
from hf_finetune.engines import ENGINES
from hf_finetune.errors import UserError
from hf_finetune.formatting import is_score
from hf_finetune.losses import LOSSES
from hf_finetune.metrics import METRICS
from hf_finetune.recipe import load_recipe
from hf_finetune.recipe.names import NAMES
from hf_finetune.recipe.task_options import TASK_OPTIONS
from hf_finetune.runner import evaluate, run
from hf_finetune.tasks import TASKS, LabelSpace

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"

SPACES = {
    "single": LabelSpace(problem_type="single_label_classification", names=tuple("abcd"), num_labels=4),
    "multi": LabelSpace(problem_type="multi_label_classification", names=tuple("abcd"), num_labels=4),
    "regression": LabelSpace(problem_type="regression", names=(), num_labels=1),
    "ctc": SimpleNamespace(
        problem_type="ctc",
        names=(),
        num_labels=9,
        blank=0,
        reduction="mean",
        zero_infinity=False,
        count_frames=lambda lengths: lengths,
    ),
    "seq2seq": SimpleNamespace(problem_type="seq2seq", names=(), num_labels=9),
}
NEEDS_A_HUB = {"hub"}
REGISTRIES = {
    "task": TASKS,
    "metric": METRICS,
    "loss": LOSSES,
    "augmentation": AUGMENTATIONS,
    "engine": ENGINES,
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_names_that_are_known_without_importing_are_those_of_the_registry(kind):
    ours = [
        name
        for name in REGISTRIES[kind].names()
        if inspect.unwrap(
            getattr(REGISTRIES[kind].get(name), "func", REGISTRIES[kind].get(name))
        ).__module__.startswith("hf_finetune.")
    ]
    assert sorted(NAMES[kind]) == ours
    assert set(TASK_OPTIONS) == set(NAMES["task"])


SMOKE_RECIPES = sorted(SMOKE.glob("*.yaml"))


@pytest.mark.parametrize("task", TASKS.names())
def test_a_task_has_a_smoke_recipe(task):
    """One for each kind of model the task's name stands for: <task>.yaml, <task>-<kind>.yaml ..."""
    assert any(path.stem == task or path.stem.startswith(f"{task}-") for path in SMOKE_RECIPES)


@pytest.mark.parametrize("path", SMOKE_RECIPES, ids=lambda path: path.stem)
def test_a_task_trains_resumes_and_predicts_in_every_engine(path, tmp_path):
    """Two updates in each engine, stopped and resumed in the other: one run, whoever trains."""
    ends = {}
    for engine in ENGINES.names():
        words = [f"engine={engine}", f"training.output_dir={tmp_path / engine}", "training.max_steps=2"]
        words += ["training.save_strategy=steps", "training.save_steps=1", "training.eval_strategy=no"]
        whole = run(load_recipe(path, words))
        assert (whole.folder.best / "model.safetensors").exists()
        assert whole.folder.predictions("test").exists()
        ends[engine] = [
            (entry["loss"], entry["grad_norm"]) for entry in whole.state.log_history if "loss" in entry
        ]
        assert len(ends[engine]) == 2
        scored = evaluate(whole.folder.path)
        assert {name: scored[name] for name in scored if is_score(name, scored[name])} == {
            name: value for name, value in whole.scores["test"].items() if is_score(name, value)
        }
        for other in ENGINES.names():
            again = run(
                load_recipe(path, [*words, f"engine={other}"]),
                resume=whole.folder.path / "checkpoint-1",
            )
            resumed = [
                (entry["loss"], entry["grad_norm"]) for entry in again.state.log_history if "loss" in entry
            ]
            assert resumed == ends[engine]
            assert again.scores["test"]["loss"] == whole.scores["test"]["loss"]
    assert len({tuple(losses) for losses in ends.values()}) == 1


def decoded_row(modality: str) -> tuple[dict[str, object], str]:
    """Return a row as the data set gives it to augmentations, and the name of its input."""
    rng = np.random.default_rng(0)
    if modality == "image":
        return {"image": rng.integers(0, 256, (23, 17, 3), dtype=np.uint8), "labels": 3}, "image"
    clips = [0.3 * rng.standard_normal(size).astype(np.float32) for size in (18000, 9000)]
    rows = [{"audio": clip, "sampling_rate": 16000, "labels": 3} for clip in clips]
    return {**rows[0], "others": lambda rng: rows[int(rng.integers(2))]}, "audio"


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_is_a_pure_function_of_row_and_generator(name):
    augment = AUGMENTATIONS.build(name, {})
    row, key = decoded_row(augment.modality)
    given = row[key].copy()
    changed = 0
    for seed in range(30):
        states = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()
        first = augment(row, np.random.default_rng(seed))
        second = augment(row, np.random.default_rng(seed))
        np.testing.assert_array_equal(first[key], second[key])
        np.testing.assert_array_equal(row[key], given)
        np.testing.assert_array_equal(np.random.get_state()[1], states[0])
        assert (random.getstate(), torch.get_rng_state().tolist()) == (states[1], states[2].tolist())
        assert first.keys() == row.keys()
        assert first["labels"] == 3
        assert (first[key].dtype, first[key].ndim) == (given.dtype, given.ndim)
        assert first[key].size > 0
        assert np.isfinite(first[key]).all()
        changed += first[key].shape != given.shape or not np.array_equal(first[key], given)
    assert changed, "it never changes anything"


def build_if_it_fits(registry, name, options, kind):
    """Build a thing for these labels; None where it says itself that it is not for them."""
    try:
        return registry.build(name, options, SPACES[kind])
    except UserError as error:
        if "regression" in str(error) or "label" in str(error):
            return None
        raise


def perfect(kind: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return predictions that are right in every row, and the labels."""
    rng = np.random.default_rng(1)
    if kind == "regression":
        labels = rng.normal(size=40).astype(np.float32)
        return {"prediction": labels.copy()}, labels
    if kind in ("ctc", "seq2seq"):
        words = np.array(["one", "two", "three", "", "four five"], dtype=object)
        labels = words[rng.integers(0, len(words), 40)]
        return {"prediction": labels.copy()}, labels
    if kind == "multi":
        labels = rng.integers(0, 2, (40, 4))
        return {"prediction": labels, "probabilities": 0.1 + 0.8 * labels}, labels.astype(np.float32)
    labels = np.arange(40) % 4
    return {"prediction": labels, "probabilities": np.eye(4)[labels] * 0.8 + 0.05}, labels


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", [name for name in METRICS.names() if name not in NEEDS_A_HUB])
def test_a_metric_scores_a_perfect_prediction_as_perfect(name, kind):
    options = {"average": "macro"} if name in ("f1", "precision", "recall") else {}
    options |= {"k": 2} if name == "top_k_accuracy" else {}
    metric = build_if_it_fits(METRICS, name, options, kind)
    if metric is None:
        return
    reduced, labels = perfect(kind)
    for part in range(0, 40, 7):
        metric.update({k: v[part : part + 7] for k, v in reduced.items()}, labels[part : part + 7])
    value = metric.compute()
    if metric.is_scalar:
        assert value == pytest.approx(1.0 if metric.greater_is_better else 0.0)
    else:
        matrix = np.asarray(value)
        assert matrix.sum(axis=None) == np.trace(matrix) if matrix.ndim == 2 else True


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_adds_up_over_micro_batches(name, kind):
    """The sum over the micro-batches of a window is the loss of the window, and it has a finite gradient."""
    loss = build_if_it_fits(LOSSES, name, {}, kind)
    if loss is None:
        return
    generator = torch.Generator().manual_seed(0)
    if kind in ("ctc", "seq2seq"):
        labels = torch.randint(1, 9, (11, 4), generator=generator)
        labels[::3, 2:] = -100
        shape: tuple[int, ...] = (11, 10 if kind == "ctc" else 4, 9)
    else:
        labels = torch.as_tensor(perfect(kind)[1][:11])
        shape = (11, SPACES[kind].num_labels)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    num = int((labels != -100).sum())

    def of(part: slice) -> torch.Tensor:
        outputs = ImageClassifierOutput(logits=logits[part])
        return loss(outputs, labels[part], inputs={}, num_items_in_batch=num)

    whole = of(slice(0, 11))
    assert torch.isfinite(whole)
    torch.testing.assert_close(of(slice(0, 4)) + of(slice(4, 11)), whole)
    (gradient,) = torch.autograd.grad(whole, logits)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
