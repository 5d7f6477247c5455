"""Hold rows of the training split out for evaluation."""

from __future__ import annotations

import numpy as np

__all__ = ["hold_out"]


def hold_out(
    num_rows: int, share: float, *, seed: int, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into those to train on and those to evaluate on.

    The same arguments always give the same rows. With classes every class is held out in proportion, to
    within a row; the only row of a class stays in training.

    Args:
        num_rows: N.
        share: Of the rows to hold out, in (0, 1); at least one row is, and at least one is left.
        seed: Of the run.
        classes: [N] the class of every row; None draws without regard to classes.

    Returns:
        Row numbers in ascending order: training, evaluation.

    Example:
        >>> train, held = hold_out(8, 0.25, seed=0, classes=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
        >>> len(train), sorted(np.array([0, 0, 0, 0, 1, 1, 1, 1])[held].tolist())
        (6, [0, 1])
    """
    order = np.random.Generator(np.random.Philox(seed)).permutation(num_rows)
    if classes is not None:
        counts = np.bincount(classes)
        order = order[counts[classes[order]] > 1]
        order = order[np.argsort(classes[order], kind="stable")]
    count = min(max(round(share * num_rows), 1), num_rows - 1, len(order))
    # evenly spaced over rows sorted by class: every class gets its share
    positions = ((np.arange(count) + 0.5) * len(order) / max(count, 1)).astype(np.int64)
    held = np.sort(order[positions])
    return np.setdiff1d(np.arange(num_rows), held), held
