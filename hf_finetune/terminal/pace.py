"""How fast the training is, and how long it will still take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["Pace"]

WINDOW_S = 20.0
GRAIN_S = 0.1


class Pace:
    """Measure the throughput of the last seconds of training, and the time left by the average so far.

    The throughput is that of training alone. The time left counts evaluations and saving too, for they
    will come again.

    Args:
        clock: Seconds from some moment on.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = self._last = clock()
        self._training_s = 0.0
        self._recent: deque[tuple[float, int]] = deque([(0.0, 0)])

    def step(self, num_samples: int) -> None:
        """Count the time since the last event as training, at the end of which `num_samples` are done."""
        now = self._clock()
        self._training_s += now - self._last
        self._last = now
        if len(self._recent) > 1 and self._training_s - self._recent[-2][0] < GRAIN_S:
            self._recent.pop()
        self._recent.append((self._training_s, num_samples))
        while len(self._recent) > 2 and self._training_s - self._recent[0][0] > WINDOW_S:
            self._recent.popleft()

    def rest(self) -> None:
        """Count the time since the last event as something else than training."""
        self._last = self._clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def samples_per_second(self) -> float | None:
        """Throughput of the last seconds; None before the first update."""
        (first_s, first), (last_s, last) = self._recent[0], self._recent[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None

    def seconds_left(self, done: int, total: int) -> float | None:
        """Estimate the time for `total - done` more updates; None before the first of this session.

        Args:
            done: Updates done since the start of this session.
            total: Updates that this session has to do.
        """
        return (self._last - self._started) / done * max(0, total - done) if done > 0 else None
