"""`training.learning_rate=3e-5` -> the tree with that value in it.

The value is YAML and replaces what was there. A number in the key is an index of a list; the index after the
last appends. Keys that are not there yet are made.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hf_finetune.recipe.places import KeyPath, Node, Place, Problems, dotted
from hf_finetune.recipe.sources import NAMING_KEYS
from hf_finetune.recipe.wording import describe
from hf_finetune.recipe.yaml12 import parse
from hf_finetune.secrecy import hide_in, is_secret

__all__ = ["apply_override"]


class _Misfit(Exception):
    """The key of an override does not fit the recipe."""


def apply_override(tree: Node, override: str, problems: Problems) -> Node:
    """Return the tree with one override applied; unchanged, with a problem noted, when it is malformed.

    Args:
        tree: The recipe so far.
        override: `dotted.key=value`.
        problems: Where mistakes are noted.
    """
    key, equals, text = override.partition("=")
    label = f"<override> {key}=***" if is_secret(key) else f"<override> {hide_in(override)}"
    place = Place(label)
    parts = key.split(".")
    if not equals:
        problems.add(place, "no '=' in it", "Write key=value, without spaces around the '='.")
    elif key.startswith("-"):
        problems.add(place, "an override has no dashes", f"Write {override.lstrip('-')}")
    elif not all(parts) or any(part != part.strip() for part in parts):
        problems.add(place, f"'{key}' is not a key", "Write for example training.learning_rate=3e-5.")
    elif parts[0] == "extends":
        problems.add(place, "extends cannot be overridden", "Name the other recipe on the command line.")
    elif not text.strip():
        problems.add(place, "nothing after the '='", f"Write {key}=null for no value.")
    elif (value := parse(text, label, problems, has_lines=False)) is not None:
        if value.value is None and not value.text:
            problems.add(place, "what follows a # is a comment in YAML", "Put it in quotes.")
            return tree
        try:
            return _set(tree, parts, value, (), place)
        except _Misfit as misfit:
            problems.add(place, str(misfit))
    return tree


def _set(node: Node, parts: list[str], new: Node, path: KeyPath, place: Place) -> Node:
    if not parts:
        return replace(new, key_at=place)
    value = node.value
    if isinstance(value, str) and (name := _short_form(path)):
        value = {name: node}  # `task: x` is short for `task: {name: x}`
    if value is None:
        value = {}
    if isinstance(value, dict):
        key, rest = _split(parts, value)
        child = value.get(key, Node(None, place, place))
        return replace(node, value={**value, key: _set(child, rest, new, (*path, key), place)})
    if isinstance(value, list):
        index = _index(parts[0], value, path)
        child = value[index] if index < len(value) else Node(None, place, place)
        changed = _set(child, parts[1:], new, (*path, index), place)
        return replace(node, value=[*value[:index], changed, *value[index + 1 :]])
    raise _Misfit(f"{dotted(path)} is {describe(value)}, so there is no {parts[0]!r} in it")


def _split(parts: list[str], children: dict[Any, Node]) -> tuple[Any, list[str]]:
    """Take the first key off; a key may itself contain dots, as those of `sweep.space` do."""
    for length in range(len(parts), 0, -1):
        key = dotted(tuple(parts[:length]))
        if key in children:
            return key, parts[length:]
        if key.isdecimal() and int(key) in children:
            return int(key), parts[length:]
    return parts[0], parts[1:]


def _index(part: str, items: list[Node], path: KeyPath) -> int:
    if part.isdecimal() and int(part) <= len(items):
        return int(part)
    size = len(items)
    entries = "1 entry" if size == 1 else f"{size} entries"
    raise _Misfit(f"{dotted(path)} has {entries}, got {part!r}, expected 0 to {size} ({size} appends)")


def _short_form(path: KeyPath) -> str | None:
    if path in NAMING_KEYS:
        return NAMING_KEYS[path]
    is_named = (len(path) == 2 and path[0] == "metrics") or (
        len(path) == 3 and path[:2] == ("data", "augment")
    )
    return "name" if is_named else None
