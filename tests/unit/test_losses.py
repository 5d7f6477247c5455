"""Every loss against torch's own, its invariance under accumulation, and what the recipe may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from transformers.modeling_outputs import ImageClassifierOutput

from hf_finetune.errors import UserError
from hf_finetune.losses import LOSSES, balanced_weights, build_loss, default_loss, get_logits

SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
REGRESSION = "regression"


@dataclass
class Space:
    problem_type: str = SINGLE
    num_labels: int = 3
    names: tuple[str, ...] = ("ant", "bee", "cat")


@dataclass
class Spec:
    name: str
    options: dict[str, Any] = field(default_factory=dict)


def build(name: str, space: Space, **options: Any) -> Any:
    return build_loss(Spec(name, options), space)


def make_batch(problem_type: str, seed: int, rows: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    if problem_type == SINGLE:
        return logits, torch.randint(0, 3, (rows,), generator=generator)
    if problem_type == MULTI:
        return logits, torch.randint(0, 2, (rows, 3), generator=generator).double()
    return logits, torch.randn(rows, 3, generator=generator, dtype=torch.float64)


def space_of(problem_type: str) -> Space:
    return Space(problem_type, names=() if problem_type == REGRESSION else ("ant", "bee", "cat"))


PROBLEM_OF = {
    "cross_entropy": SINGLE,
    "focal": SINGLE,
    "bce_with_logits": MULTI,
    "mse": REGRESSION,
    "mae": REGRESSION,
    "l1": REGRESSION,
    "huber": REGRESSION,
}

TORCH = {
    "cross_entropy": F.cross_entropy,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "l1": F.l1_loss,
    "huber": F.huber_loss,
}


def test_every_registered_loss_is_tested() -> None:
    assert set(PROBLEM_OF) | {"ctc"} == set(LOSSES.names())  # test_ctc_loss.py


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", sorted(TORCH))
def test_equals_the_mean_of_torch(name: str, seed: int) -> None:
    problem_type = PROBLEM_OF[name]
    logits, labels = make_batch(problem_type, seed)
    loss = build(name, space_of(problem_type))
    ours = loss(logits, labels, inputs={}, num_items_in_batch=labels.numel())
    torch.testing.assert_close(ours, TORCH[name](logits, labels), rtol=1e-15, atol=0)


def test_cross_entropy_equals_the_mean_of_torch_bit_for_bit() -> None:
    for seed in range(20):
        logits, labels = make_batch(SINGLE, seed)
        logits = logits.float()
        ours = build("cross_entropy", Space())(
            logits, labels, inputs={}, num_items_in_batch=torch.tensor(len(labels))
        )
        assert torch.equal(ours, F.cross_entropy(logits, labels))


OPTIONS = [
    ("cross_entropy", SINGLE, {}),
    ("cross_entropy", SINGLE, {"class_weights": [0.5, 1, 3], "label_smoothing": 0.1}),
    ("focal", SINGLE, {"gamma": 1.5, "alpha": [0.2, 0.5, 1]}),
    ("focal", MULTI, {"alpha": 0.25}),
    ("bce_with_logits", MULTI, {"pos_weight": [1, 2, 3]}),
    ("mse", REGRESSION, {}),
    ("mae", REGRESSION, {}),
    ("huber", REGRESSION, {"delta": 0.5}),
]


@pytest.mark.parametrize(("name", "problem_type", "options"), OPTIONS)
def test_the_cut_of_the_window_changes_nothing(name: str, problem_type: str, options: dict[str, Any]) -> None:
    logits, labels = make_batch(problem_type, seed=0, rows=13)
    labels[2] = -100
    count = int((labels != -100).sum())
    loss = build(name, space_of(problem_type), **options)

    def gradient(sizes: list[int]) -> torch.Tensor:
        leaf = logits.clone().requires_grad_()
        for x, y in zip(leaf.split(sizes), labels.split(sizes), strict=True):
            loss(x, y, inputs={}, num_items_in_batch=count).backward()
        assert leaf.grad is not None
        return leaf.grad

    whole = gradient([13])
    torch.testing.assert_close(gradient([5, 1, 7]), whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(gradient([1] * 13), whole, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("name", "problem_type", "options"), OPTIONS)
def test_ignored_targets_do_not_count(name: str, problem_type: str, options: dict[str, Any]) -> None:
    logits, labels = make_batch(problem_type, seed=1)
    loss = build(name, space_of(problem_type), **options)
    kept = loss(logits[3:], labels[3:], inputs={}, num_items_in_batch=7)
    labels[:3] = -100
    logits[:3] = 1e4
    leaf = logits.requires_grad_()
    ours = loss(leaf, labels, inputs={}, num_items_in_batch=7)
    torch.testing.assert_close(ours, kept, rtol=1e-15, atol=0)
    ours.backward()
    assert leaf.grad is not None
    assert not leaf.grad[:3].any()
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize(("name", "problem_type", "options"), OPTIONS)
@pytest.mark.parametrize("count", [0, torch.tensor(0)])
def test_a_window_without_targets_is_zero(
    name: str, problem_type: str, options: dict[str, Any], count: Any
) -> None:
    logits, labels = make_batch(problem_type, seed=1)
    loss = build(name, space_of(problem_type), **options)
    assert loss(logits, torch.full_like(labels, -100), inputs={}, num_items_in_batch=count).item() == 0


@pytest.mark.parametrize(("name", "problem_type", "options"), OPTIONS)
def test_gradients_are_those_of_the_formula(name: str, problem_type: str, options: dict[str, Any]) -> None:
    logits, labels = make_batch(problem_type, seed=2, rows=4)
    loss = build(name, space_of(problem_type), **options)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, labels, inputs={}, num_items_in_batch=4), logits.requires_grad_()
    )


@pytest.mark.parametrize(("name", "problem_type", "options"), OPTIONS)
def test_a_nan_stays_a_nan(name: str, problem_type: str, options: dict[str, Any]) -> None:
    logits, labels = make_batch(problem_type, seed=3)
    logits[1] = float("nan")
    assert build(name, space_of(problem_type), **options)(
        logits, labels, inputs={}, num_items_in_batch=11
    ).isnan()


def test_class_weights_are_over_the_count() -> None:
    logits, labels = make_batch(SINGLE, seed=4)
    weights = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    by_hand = (weights[labels] * F.cross_entropy(logits, labels, reduction="none")).sum() / 11
    for given in ([0.5, 1, 3], {"cat": 3, "ant": 0.5, "bee": 1}):
        loss = build("cross_entropy", Space(), class_weights=given)
        torch.testing.assert_close(loss(logits, labels, inputs={}, num_items_in_batch=11), by_hand)
    of_torch = F.cross_entropy(logits, labels, weight=weights)
    torch.testing.assert_close(by_hand * 11 / weights[labels].sum(), of_torch)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    rows = np.repeat([0, 1, 2], [5, 1, 14])
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=rows)
    np.testing.assert_allclose(balanced_weights([5, 1, 14]), theirs, rtol=1e-15)
    labels = torch.from_numpy(rows)
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    spec = Spec("cross_entropy", {"class_weights": "balanced"})
    loss = build_loss(spec, Space(), count_labels=lambda: [5, 1, 14])
    ours = loss(logits, labels, inputs={}, num_items_in_batch=20)
    mean = F.cross_entropy(logits, labels, weight=torch.tensor(theirs).float())
    torch.testing.assert_close(ours, mean)  # over the whole training split the two normalisations agree


def test_label_smoothing_of_the_arguments() -> None:
    logits, labels = make_batch(SINGLE, seed=5)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    loss = build_loss(None, Space(), label_smoothing=0.1)
    torch.testing.assert_close(loss(logits, labels, inputs={}, num_items_in_batch=11), expected)
    own = build_loss(Spec("cross_entropy", {"label_smoothing": 0.1}), Space(), label_smoothing=0.3)
    torch.testing.assert_close(own(logits, labels, inputs={}, num_items_in_batch=11), expected)


def test_an_evaluation_is_against_the_true_labels() -> None:
    logits, labels = make_batch(SINGLE, seed=5)
    weights = [0.5, 1, 3]
    spec = Spec("cross_entropy", {"label_smoothing": 0.1, "class_weights": weights})
    for asked, smoothing in ((None, 0.3), (spec, 0.0)):
        loss = build_loss(asked, Space(), label_smoothing=smoothing, is_for_evaluation=True)
        weight = torch.tensor(weights if asked else [1.0] * 3, dtype=torch.float64)
        plain = F.cross_entropy(logits, labels, weight=weight, reduction="sum") / 11
        torch.testing.assert_close(loss(logits, labels, inputs={}, num_items_in_batch=11), plain)
        trained = build_loss(asked, Space(), label_smoothing=smoothing)
        assert trained(logits, labels, inputs={}, num_items_in_batch=11) > plain
    assert spec.options["label_smoothing"] == 0.1


def test_a_new_problem_type_needs_a_loss_by_name() -> None:
    space = Space("matching")
    with pytest.raises(
        UserError, match=r"'matching' has no loss of its own.*Name one: loss: NAME. Known: bce"
    ):
        build_loss(None, space)
    with pytest.raises(UserError, match=r"the loss 'mse': it is for regression.*Name a loss that is for it"):
        build_loss(Spec("mse"), space)


def test_focal_is_the_paper_s_formula() -> None:
    logits, labels = make_batch(SINGLE, seed=6)
    p_t = logits.softmax(-1).gather(1, labels[:, None]).squeeze(1)
    by_hand = (-((1 - p_t) ** 2) * p_t.log()).sum() / 11
    ours = build("focal", Space())(logits, labels, inputs={}, num_items_in_batch=11)
    torch.testing.assert_close(ours, by_hand, rtol=1e-12, atol=0)

    logits, labels = make_batch(MULTI, seed=6)
    p = logits.sigmoid()
    p_t = torch.where(labels == 1, p, 1 - p)
    alpha_t = torch.where(labels == 1, 0.25, 0.75)
    by_hand = (-alpha_t * (1 - p_t) ** 2 * p_t.log()).sum() / 33
    ours = build("focal", Space(MULTI), alpha=0.25)(logits, labels, inputs={}, num_items_in_batch=33)
    torch.testing.assert_close(ours, by_hand, rtol=1e-12, atol=0)


def test_focal_without_focus_is_cross_entropy() -> None:
    for problem_type, plain in ((SINGLE, "cross_entropy"), (MULTI, "bce_with_logits")):
        logits, labels = make_batch(problem_type, seed=7)
        space = Space(problem_type)
        ours = build("focal", space, gamma=0)(logits, labels, inputs={}, num_items_in_batch=11)
        theirs = build(plain, space)(logits, labels, inputs={}, num_items_in_batch=11)
        torch.testing.assert_close(ours, theirs, rtol=1e-15, atol=0)


def test_focal_with_two_classes_takes_the_positive_class_s_alpha() -> None:
    space = Space(num_labels=2, names=("no", "yes"))
    logits, labels = torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])
    one = build("focal", space, alpha=0.25)(logits, labels, inputs={}, num_items_in_batch=6)
    each = build("focal", space, alpha=[0.75, 0.25])(logits, labels, inputs={}, num_items_in_batch=6)
    assert torch.equal(one, each)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_focal_is_finite_when_the_model_is_certain(problem_type: str, gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, -200.0], [-200.0, 200.0, 200.0]], requires_grad=True)
    labels = torch.tensor([0, 0]) if problem_type == SINGLE else torch.tensor([[1.0, 0, 0], [1, 0, 0]])
    loss = build("focal", Space(problem_type), gamma=gamma)(logits, labels, inputs={}, num_items_in_batch=2)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_tokens_are_targets_too() -> None:
    logits, labels = torch.randn(2, 5, 3), torch.randint(0, 3, (2, 5))
    labels[0, 3:] = -100
    ours = build("cross_entropy", Space())(logits, labels, inputs={}, num_items_in_batch=8)
    torch.testing.assert_close(ours, F.cross_entropy(logits.transpose(1, 2), labels))
    focal = build("focal", Space(), gamma=0)(logits, labels, inputs={}, num_items_in_batch=8)
    torch.testing.assert_close(focal, ours)


def test_a_single_output_loses_its_last_axis() -> None:
    logits, labels = torch.randn(4, 1), torch.randn(4)
    space = Space(REGRESSION, num_labels=1, names=())
    ours = build("mse", space)(logits, labels, inputs={}, num_items_in_batch=4)
    torch.testing.assert_close(ours, F.mse_loss(logits.squeeze(1), labels))


def test_nothing_is_broadcast() -> None:
    with pytest.raises(UserError, match=r"logits of shape \[4, 2\] do not fit labels of shape \[4\]"):
        build("mse", Space(REGRESSION))(torch.randn(4, 2), torch.randn(4), inputs={}, num_items_in_batch=4)


def test_logits_are_found_and_widened() -> None:
    logits = torch.randn(2, 3)
    assert get_logits(logits) is logits
    assert get_logits(ImageClassifierOutput(logits=logits)) is logits
    assert get_logits({"logits": logits.bfloat16()}).dtype == torch.float32
    assert get_logits(logits.double()).dtype == torch.float64


def test_default_losses() -> None:
    for problem_type, name in ((SINGLE, "cross_entropy"), (MULTI, "bce_with_logits"), (REGRESSION, "mse")):
        assert default_loss(problem_type) == name
        assert build_loss(None, space_of(problem_type)).__qualname__  # type: ignore[attr-defined]


def where(dotted: str) -> str:
    return f"r.yaml[{dotted}]"


@pytest.mark.parametrize(
    ("spec", "problem_type", "message"),
    [
        (
            Spec("cross_entrop"),
            SINGLE,
            r"^r.yaml\[loss.name\]: unknown loss 'cross_entrop'. Did you mean 'cross_entropy'\?",
        ),
        (
            Spec("focal", {"gama": 1}),
            SINGLE,
            r"^r.yaml\[loss.gama\]: the loss 'focal' has no option 'gama'. Did you mean 'gamma'\?",
        ),
        (
            Spec("mse"),
            SINGLE,
            r"^r.yaml\[loss\]: the loss 'mse': it is for regression, but the labels are single_label_.*"
            r"Use 'cross_entropy'",
        ),
        (Spec("focal", {"gamma": -1}), SINGLE, r"^r.yaml\[loss.gamma\]: .*a number from 0, not -1"),
        (Spec("focal", {"gamma": True}), SINGLE, r"a number from 0, not True"),
        (
            Spec("focal", {"alpha": 0.5}),
            SINGLE,
            r"^r.yaml\[loss.alpha\]: .*one number, but there are 3 classes",
        ),
        (Spec("focal", {"alpha": [0.5, 2, 1]}), MULTI, r"a number from 0 up to 1, not 2"),
        (Spec("cross_entropy", {"label_smoothing": 1}), SINGLE, r"from 0 below 1, not 1"),
        (
            Spec("cross_entropy", {"class_weights": [1, 2]}),
            SINGLE,
            r"must have 3 numbers, one for each class",
        ),
        (Spec("cross_entropy", {"class_weights": "balance"}), SINGLE, r"not 'balance'"),
        (
            Spec("cross_entropy", {"class_weights": {"ant": 1, "bee": 1, "cow": 1}}),
            SINGLE,
            r"missing or unknown: cat, cow",
        ),
        (Spec("huber", {"delta": 0}), REGRESSION, r"delta must be above 0"),
        (Spec("huber", {"delta": float("nan")}), REGRESSION, r"a number from 0, not nan"),
    ],
)
def test_mistakes_have_a_place(spec: Spec, problem_type: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_loss(spec, space_of(problem_type), where=where)


def test_smoothing_of_the_arguments_has_its_own_place() -> None:
    with pytest.raises(UserError, match=r"^r.yaml\[training.label_smoothing_factor\]: the loss 'mse' has no"):
        build_loss(None, space_of(REGRESSION), label_smoothing=0.1, where=where)


def test_an_empty_class_cannot_be_balanced() -> None:
    spec = Spec("cross_entropy", {"class_weights": "balanced"})
    with pytest.raises(UserError, match=r"^r.yaml\[loss.class_weights\]: .*no training row of class bee"):
        build_loss(spec, Space(), count_labels=lambda: [3, 0, 1], where=where)


def test_classes_with_numbers_for_names() -> None:
    space = Space(num_labels=2, names=("0", "1"))
    loss = build("cross_entropy", space, class_weights={0: 1.0, 1: 2.0})
    assert loss(
        torch.zeros(1, 2), torch.tensor([1]), inputs={}, num_items_in_batch=1
    ).item() == pytest.approx(2 * np.log(2))
