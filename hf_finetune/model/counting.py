"""How large a model is, and how much of it is trained."""

from __future__ import annotations

from torch import nn

__all__ = ["count_parameters", "describe_share"]


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return the number of all parameters, and of those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, is_trained in sizes if is_trained)


def describe_share(model: nn.Module) -> str:
    """Say how many of the parameters are trained.

    Example:
        >>> layer = nn.Linear(9, 10)
        >>> _ = layer.weight.requires_grad_(False)
        >>> describe_share(layer)
        '100 parameters, 10 trained (10 %)'
    """
    num_all, num_trained = count_parameters(model)
    return f"{num_all:,} parameters, {num_trained:,} trained ({100 * num_trained / max(num_all, 1):.3g} %)"
