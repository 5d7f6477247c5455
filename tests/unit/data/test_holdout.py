"""Held-out rows are the same every time, and of every class in proportion."""

import numpy as np
import pytest

from hf_finetune.data.holdout import hold_out


@pytest.fixture
def classes():
    return np.random.default_rng(0).choice(4, size=1000, p=[0.6, 0.3, 0.08, 0.02])


def test_every_row_is_on_one_side(classes):
    train, held = hold_out(1000, 0.15, seed=1, classes=classes)
    assert len(held) == 150
    assert sorted([*train, *held]) == list(range(1000))


def test_classes_keep_their_share(classes):
    _, held = hold_out(1000, 0.1, seed=1, classes=classes)
    assert np.abs(np.bincount(classes[held]) - np.bincount(classes) * 0.1).max() <= 1


def test_the_seed_decides(classes):
    first, again, other = (hold_out(1000, 0.1, seed=seed, classes=classes)[1] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_without_classes():
    train, held = hold_out(10, 0.25, seed=0)
    assert (len(train), len(held)) == (8, 2)


def test_the_only_row_of_a_class_stays():
    classes = np.array([0] * 20 + [1])
    for seed in range(20):
        assert 20 in hold_out(21, 0.5, seed=seed, classes=classes)[0]


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.999, 9), (0.5, 5)])
def test_both_sides_have_rows(share, count):
    assert len(hold_out(10, share, seed=0)[1]) == count


def test_classes_of_one_row_each_leave_nothing_to_hold_out():
    assert len(hold_out(3, 0.5, seed=0, classes=np.array([0, 1, 2]))[1]) == 0
