"""Values that remember where they were written, and the list of what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hf_finetune.errors import RecipeError

__all__ = ["Finding", "KeyPath", "Node", "Place", "Problems", "dotted", "to_plain", "walk"]

KeyPath: TypeAlias = tuple[Any, ...]
"""Keys and list indices from the top of a recipe down."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written.

    Args:
        file: As the user named it, or `<override> key=value`.
        line: From 1; 0 when there are no lines.
        column: From 1.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place.

    Args:
        value: A scalar, or a dict or a list of nodes.
        at: Where the value begins.
        key_at: Where its key begins; the value's own place when it has no key.
        text: A scalar as it was written.
    """

    value: Any
    at: Place
    key_at: Place
    text: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem that knows its key, not yet its place.

    Args:
        path: The key it is about.
        what: What was got and what is expected.
        todo: What to do, as a sentence.
        is_about_key: It is the key that is wrong, not the value.
    """

    path: KeyPath
    what: str
    todo: str | None = None
    is_about_key: bool = False


@dataclass(slots=True)
class Problems:
    """Everything found so far.

    Args:
        files: In the order they were opened; problems are sorted by it.
        is_incomplete: A file could not be read, so the recipe as a whole cannot be judged.
        paths: The keys that have a problem.
    """

    files: list[str] = field(default_factory=list)
    is_incomplete: bool = False
    paths: set[KeyPath] = field(default_factory=set)
    _found: list[tuple[Place, RecipeError]] = field(default_factory=list)

    def add(self, place: Place, what: str, todo: str | None = None, *, path: KeyPath = ()) -> None:
        """Note a problem."""
        text = f"{dotted(path)}: {what}" if path else what
        self.paths.add(path)
        self._found.append((place, RecipeError(text, where=str(place), todo=todo)))

    def raise_if_any(self) -> None:
        """Raise one RecipeError with all problems, in the order of the files and lines."""
        if self._found:
            raise RecipeError.join(problem for _, problem in sorted(self._found, key=self._order))

    def _order(self, item: tuple[Place, RecipeError]) -> tuple[int, int, int]:
        place = item[0]
        rank = self.files.index(place.file) if place.file in self.files else len(self.files)
        return rank, place.line, place.column


def dotted(path: KeyPath) -> str:
    """Write a path as users do.

    Example:
        >>> dotted(("data", "augment", 0))
        'data.augment.0'
    """
    return ".".join(map(str, path))


def to_plain(node: Node) -> Any:
    """Forget the places."""
    if isinstance(node.value, dict):
        return {key: to_plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [to_plain(child) for child in node.value]
    return node.value


def walk(node: Node, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Node]]:
    """Yield every node below and including `node`, with its path."""
    yield path, node
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from walk(child, (*path, key))
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from walk(child, (*path, index))
