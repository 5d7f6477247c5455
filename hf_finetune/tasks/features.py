"""What a column of a data set holds, as far as tasks want to know."""

from __future__ import annotations

from typing import Any

__all__ = ["describe_feature", "label_kind"]


def label_kind(feature: Any) -> tuple[str, bool] | None:
    """Return what a feature holds, "class", "text", "integer", "float" or "bool", and whether it is a list.

    None is for features that cannot be labels.
    """
    import datasets

    if isinstance(feature, datasets.List | datasets.LargeList):
        inner = label_kind(feature.feature)
        return (inner[0], True) if inner and not inner[1] else None
    if isinstance(feature, datasets.ClassLabel):
        return "class", False
    if isinstance(feature, datasets.Value):
        dtype = feature.dtype
        if dtype in ("string", "large_string"):
            return "text", False
        if dtype.startswith(("int", "uint")):
            return "integer", False
        if dtype.startswith("float"):
            return "float", False
        if dtype == "bool":
            return "bool", False
    return None


def describe_feature(feature: Any) -> str:
    """Say in a few words what a column holds, for questions to the user."""
    kind = label_kind(feature)
    if kind is None:
        return type(feature).__name__
    word = f"{len(getattr(feature, 'feature', feature).names)} classes" if kind[0] == "class" else kind[0]
    return f"lists of {word}" if kind[1] else word
