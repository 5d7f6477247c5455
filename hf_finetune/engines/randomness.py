"""Random streams: the global one that training draws from, and separate ones that must not disturb it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.random.mtrand as numpy_global
import torch

__all__ = ["isolated", "mix_seed", "read_state", "write_state"]

_DATA_BITS = np.random.MT19937()


def mix_seed(*parts: int) -> int:
    """Return one well-mixed 32-bit seed for several integers; the order of the integers matters.

    Source: the finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).

    Example:
        >>> mix_seed(42, 0, 1) != mix_seed(42, 1, 0)
        True
    """
    value = 0
    for part in parts:
        value = (value + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value & 0xFFFFFFFF


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Seed python's, numpy's and torch's global generators for a while, then put them back as they were.

    Whatever data loading draws is then a function of `seed` alone, in this process or in a worker, and the
    stream that dropout draws from does not notice it.
    """
    torch_state, python_state = torch.default_generator.get_state(), random.getstate()
    # numpy takes 60 us to copy its state and 1 us to swap the generator below it
    numpy_bits = numpy_global.get_bit_generator()
    numpy_global.set_bit_generator(_DATA_BITS)
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        numpy_global.set_bit_generator(numpy_bits)
        random.setstate(python_state)


def read_state(*, all_gpus: bool) -> dict[str, Any]:
    """Return the state of the global generators, as `Trainer` writes it to `rng_state.pth`.

    Args:
        all_gpus: Whether several processes train; each then stores the states of all GPUs it sees.
    """
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all() if all_gpus else torch.cuda.get_rng_state()
    return state


def write_state(state: dict[str, Any]) -> None:
    """Put the global generators into a state that `read_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.random.set_rng_state(state["cpu"])
    cuda = state.get("cuda")
    if cuda is not None and torch.cuda.is_available():
        if isinstance(cuda, list):
            torch.cuda.set_rng_state_all(cuda)
        else:
            torch.cuda.set_rng_state(cuda)
