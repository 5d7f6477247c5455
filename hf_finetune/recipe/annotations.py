"""What the annotation of a dataclass field allows, read from source: importing the library costs seconds."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["MISSING", "Allowed", "read_annotation", "read_enum", "read_literal"]

MISSING = object()
"""What `read_literal` returns for anything but a plain value."""

_SIMPLE = {"int": "int", "float": "float", "bool": "bool", "str": "str", "Path": "str"}
_SIMPLE |= {"dict": "dict", "Dict": "dict", "list": "list", "List": "list", "None": "null"}

FindEnum = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a field takes.

    Args:
        kinds: Of int, float, bool, str, list, dict, null; empty for Python objects.
        choices: The only texts that are taken; empty when any is.
        items: The only texts that are taken in a list; empty when any is.
        item_kinds: The kinds of the items of a list; empty when nothing is known of them.
    """

    kinds: frozenset[str] = frozenset()
    choices: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    item_kinds: frozenset[str] = frozenset()

    def __or__(self, other: Allowed) -> Allowed:
        return Allowed(
            self.kinds | other.kinds,
            self.choices + other.choices,
            self.items + other.items,
            self.item_kinds | other.item_kinds,
        )


def read_annotation(node: ast.expr, find_enum: FindEnum) -> Allowed:
    """Return what an annotation allows.

    Args:
        node: Of the annotation.
        find_enum: Name of a class -> its values when it is an enumeration of texts, else nothing.

    Example:
        >>> node = ast.parse("list[str] | Literal['all'] | None", mode="eval").body
        >>> allowed = read_annotation(node, lambda name: ())
        >>> sorted(allowed.kinds), allowed.choices, sorted(allowed.item_kinds)
        (['list', 'null', 'str'], ('all',), ['str'])
    """
    if isinstance(node, ast.BinOp):
        return read_annotation(node.left, find_enum) | read_annotation(node.right, find_enum)
    if isinstance(node, ast.Constant):
        return Allowed(frozenset({"null"} if node.value is None else {"bool"}))
    if isinstance(node, ast.Subscript):
        return _read_subscript(node, find_enum)
    name = ast.unparse(node).split(".")[-1]
    if name in _SIMPLE:
        return Allowed(frozenset({_SIMPLE[name]}))
    values = find_enum(name)
    return Allowed(frozenset({"str"} if values else ()), values)


def _read_subscript(node: ast.Subscript, find_enum: FindEnum) -> Allowed:
    outer = ast.unparse(node.value).split(".")[-1]
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if outer == "Literal":
        texts = tuple(n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str))
        others = [n for n in inner if not (isinstance(n, ast.Constant) and isinstance(n.value, str))]
        allowed = Allowed(frozenset({"str"} if texts else ()), texts)
        return _join(others, find_enum) | allowed
    if outer in {"Optional", "Union"}:
        null = Allowed(frozenset({"null"} if outer == "Optional" else ()))
        return _join(inner, find_enum) | null
    if _SIMPLE.get(outer) == "list":
        item = read_annotation(inner[0], find_enum)
        return Allowed(frozenset({"list"}), (), item.choices, item.kinds)
    return Allowed(frozenset({_SIMPLE[outer]} if outer in _SIMPLE else ()))


def _join(nodes: list[ast.expr], find_enum: FindEnum) -> Allowed:
    allowed = Allowed()
    for node in nodes:
        allowed |= read_annotation(node, find_enum)
    return allowed


def read_enum(tree: ast.Module, name: str) -> tuple[str, ...]:
    """Return the texts of an enumeration of a module; nothing when it has no such class."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            if not any("Enum" in ast.unparse(base) for base in node.bases):
                return ()
            values = [read_literal(s.value) for s in node.body if isinstance(s, ast.Assign)]
            return tuple(value for value in values if isinstance(value, str))
    return ()


def read_literal(node: ast.expr | None) -> Any:
    """Return the plain value that an expression is, or `MISSING`."""
    try:
        return ast.literal_eval(node) if node is not None else MISSING
    except ValueError:
        return MISSING
