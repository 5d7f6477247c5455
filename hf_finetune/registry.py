"""Names in recipes -> objects in code. A recipe can name only what is registered."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from hf_finetune.errors import UserError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Objects of one kind by name.

    Args:
        kind: What the objects are, for messages: "metric", "augmentation" ...

    Example:
        >>> colours: Registry[str] = Registry("colour")
        >>> _ = colours.register("red")("#f00")
        >>> colours.get("red")
        '#f00'
        >>> colours.get("rad")
        Traceback (most recent call last):
        ...
        hf_finetune.errors.UserError: unknown colour 'rad'. Did you mean 'red'? Known: red
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._objects: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates as `name`.

        Raises:
            ValueError: The name is taken; two things must never share one.
        """

        def add(thing: T) -> T:
            if name in self._objects:
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._objects[name] = thing
            return thing

        return add

    def get(self, name: str, *, where: str | None = None) -> T:
        """Look a name up.

        Args:
            name: As the recipe says it.
            where: `file:line:column` of the name, for the message.

        Raises:
            UserError: The name is not registered; the message offers the nearest one and lists all.
        """
        if name in self._objects:
            return self._objects[name]
        near = difflib.get_close_matches(name, self._objects, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        known = f"Known: {', '.join(self.names())}"
        raise UserError(f"unknown {self.kind} {name!r}", where=where, todo=hint + known)

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        return sorted(self._objects)

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
