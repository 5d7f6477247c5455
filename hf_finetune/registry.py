"""Names in recipes -> objects in code. A recipe can name only what is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from hf_finetune.errors import UserError
from hf_finetune.formatting import offer

__all__ = ["OptionError", "Registry", "Spec"]

T = TypeVar("T")


class Spec(Protocol):
    """A name in a recipe with its options."""

    @property
    def name(self) -> str:
        """The registered name."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """What the recipe says beside the name."""
        ...


class OptionError(ValueError):
    """A factory was given an option it cannot use; `Registry.build` adds the place in the recipe.

    Args:
        what: What was got and what is expected.
        option: The option's name; empty when the thing itself does not fit.
        todo: What to do about it, as an imperative sentence.
    """

    def __init__(self, what: str, *, option: str = "", todo: str | None = None) -> None:
        super().__init__(what)
        self.option, self.todo = option, todo


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
        raise UserError(f"unknown {self.kind} {name!r}", where=where, todo=offer(name, self.names()))

    def build(
        self,
        name: str,
        options: Mapping[str, Any],
        *args: Any,
        where: Callable[[str], str | None] | None = None,
    ) -> Any:
        """Look a factory up and call it with `args` and the options a recipe gives it.

        The options a factory knows are its keyword-only parameters; with `**options` it takes any.

        Args:
            name: As the recipe says it.
            options: As the recipe gives them.
            args: What every factory of this kind is given, by position.
            where: The place of an option by its name; of the entry itself by the empty string.

        Raises:
            UserError: The name or an option is unknown, an option is missing, or its value is refused.

        Example:
            >>> items: Registry[Callable[..., str]] = Registry("item")
            >>> _ = items.register("box")(lambda *, side=1: f"box of {side}")
            >>> items.build("box", {"side": 2})
            'box of 2'
            >>> items.build("box", {"sid": 2})
            Traceback (most recent call last):
            ...
            hf_finetune.errors.UserError: the item 'box' has no option 'sid'. Did you mean 'side'? Known: side
        """

        def place(option: str) -> str | None:
            return where(option) if where else None

        factory: Any = self.get(name, where=place("name"))
        what = f"the {self.kind} {name!r}"
        parameters = inspect.signature(factory).parameters.values()
        known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            for option in options:
                if option not in known:
                    raise UserError(
                        f"{what} has no option {option!r}",
                        where=place(option),
                        todo=offer(option, sorted(known)),
                    )
        for option, default in known.items():
            if default is inspect.Parameter.empty and option not in options:
                raise UserError(f"{what} needs the option {option!r}", where=place(""))
        try:
            return factory(*args, **options)
        except OptionError as error:
            raise UserError(f"{what}: {error}", where=place(error.option), todo=error.todo) from error
        except ValueError as error:
            raise UserError(f"{what}: {error}", where=place("")) from error

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        return sorted(self._objects)

    def __contains__(self, name: object) -> bool:
        return name in self._objects

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
