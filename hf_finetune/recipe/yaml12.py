"""YAML 1.2 text -> nodes with places, by the core schema of the specification and nothing else.

ruamel.yaml scans and parses; what a plain word means is decided here, because its own 1.2 rules still know
dates, underscores in numbers and merge keys.

Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import BaseResolver
from ruamel.yaml.tag import Tag

from hf_finetune.recipe.places import KeyPath, Node, Place, Problems

__all__ = ["dump", "parse"]

MAX_DEPTH = 50
MAX_VALUES = 20_000
"""No recipe needs more; anchors that multiply stop here, not when memory ends."""

_TAG = "tag:yaml.org,2002:"
_CORE_SCHEMA = [
    ("null", re.compile(r"(null|Null|NULL|~|)")),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)")),
    ("int", re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)")),
    (
        "float",
        re.compile(
            r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"
        ),
    ),
]

_EXPLANATIONS = [
    # what ruamel.yaml says, what is wrong, what a user can do
    (r"'\\t' that cannot start", "a tab, where YAML wants spaces", "Indent with spaces."),
    (r"character '(.)' that cannot start", r"a value cannot start with '\1'", "Put it in quotes."),
    (
        r"undefined alias '(.+)'",
        r"there is no anchor '&\1' for '*\1'",
        "Text that begins with * needs quotes.",
    ),
    (r"while scanning an alias", "a * begins an alias", "Text that begins with * needs quotes."),
    (r"expected ',' or '[\]}]', but got '\[", "a '[' in the middle of a value", "Put the value in quotes."),
    (
        r"expected ',' or '.', but got '<scalar>'",
        "text after a value",
        "A comma is missing, or a quote too many.",
    ),
    (r"expected ',' or '(.)', but got", r"this list or mapping is not closed with '\1'", "Close it."),
    (r"mapping values are not", "a ':' out of place", "Check the indentation; text with ': ' needs quotes."),
    (
        r"could not find expected ':'",
        "this key has no ': '",
        "Write `key: value`, with a space after the colon.",
    ),
    (r"unexpected end of stream", "this quote is not closed", "Close it."),
    (
        r"expected <block end>",
        "it does not go with the lines above",
        "Check the indentation and the quotes.",
    ),
    (r"expected a single document", "a second document begins here", "Remove the line with ---."),
    (r"maximum depth", f"more than {MAX_DEPTH} levels", "A recipe needs no more than five."),
    (r"unknown escape character", "a backslash is special in double quotes", "Use single quotes."),
]


class _CoreResolver(BaseResolver):
    """Gives plain words their type by the core schema."""

    processing_version = (1, 2)

    def __init__(self, version: Any = None, loader: Any = None) -> None:
        super().__init__(loader)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0]:
            for name, pattern in _CORE_SCHEMA:
                if pattern.fullmatch(value):
                    return Tag(suffix=_TAG + name)
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)


def parse(text: str, file: str, problems: Problems, *, has_lines: bool = True) -> Node | None:
    """Read YAML; what is wrong goes to `problems`.

    Args:
        text: The YAML.
        file: Its name, for places.
        problems: Where mistakes are noted.
        has_lines: False for an override: places have no line.

    Returns:
        The value; None when the text cannot be read.
    """

    def place(mark: Any) -> Place:
        return Place(file, mark.line + 1, mark.column + 1) if has_lines else Place(file)

    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _CoreResolver
    yaml.max_depth = MAX_DEPTH
    yaml.composer.warn_double_anchors = False
    start = Place(file, 1, 1) if has_lines else Place(file)
    try:
        root = yaml.compose(text)
        return _Builder(place, problems).build(root) if root is not None else Node(None, start, start)
    except _TooMuch as error:
        problems.add(error.at, f"not readable: {error}", "Write it without the alias (*).")
    except MarkedYAMLError as error:
        what, todo, is_about_start = _explain(f"{error.context} {error.problem}")
        mark = (error.context_mark if is_about_start else error.problem_mark) or error.problem_mark
        problems.add(place(mark), f"not YAML: {what}", todo)
    except ReaderError as error:
        before = text[: error.position]
        at = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n")) if has_lines else start
        problems.add(at, f"not YAML: the control character {chr(error.character)!r}", "Remove it.")
    return None


def dump(data: Any) -> str:
    """Write plain data as YAML that `parse` reads back to the same values."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _CoreResolver
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 100_000
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


class _TooMuch(Exception):
    """A value that contains itself, or one that anchors blow up."""

    def __init__(self, at: Place, what: str) -> None:
        super().__init__(what)
        self.at = at


class _Builder:
    """Composed YAML -> nodes."""

    def __init__(self, place: Callable[[Any], Place], problems: Problems) -> None:
        self.place, self.problems = place, problems
        self.num_values = 0
        self.parents: list[int] = []

    def build(self, raw: Any, path: KeyPath = (), key_at: Place | None = None) -> Node:
        at = self.place(raw.start_mark)
        self.num_values += 1
        if id(raw) in self.parents:
            raise _TooMuch(at, "a value that contains itself")
        if self.num_values > MAX_VALUES:
            raise _TooMuch(at, f"more than {MAX_VALUES} values")
        self.parents.append(id(raw))
        value, text = self._value(raw, path, at)
        self.parents.pop()
        return Node(value, at, key_at or at, text)

    def _value(self, raw: Any, path: KeyPath, at: Place) -> tuple[Any, str]:
        tag = str(raw.tag).removeprefix(_TAG)
        if isinstance(raw, MappingNode) and tag == "map":
            return self._mapping(raw, path), ""
        if isinstance(raw, SequenceNode) and tag == "seq":
            return [self.build(child, (*path, index)) for index, child in enumerate(raw.value)], ""
        if isinstance(raw, ScalarNode) and tag in _SCALARS:
            try:
                return _SCALARS[tag](raw.value), raw.value
            except ValueError:
                self.problems.add(at, f"{raw.value[:40]!r} is not of the type {tag}", path=path)
                return None, ""
        self.problems.add(at, f"the tag '{tag}' is not allowed", "Write a plain value.", path=path)
        return None, ""

    def _mapping(self, raw: Any, path: KeyPath) -> dict[Any, Node]:
        children: dict[Any, Node] = {}
        for raw_key, raw_child in raw.value:
            key_at = self.place(raw_key.start_mark)
            if not isinstance(raw_key, ScalarNode):
                self.problems.add(
                    key_at,
                    "a key must be a single word, got a list or a mapping",
                    "Text with { or [ needs quotes.",
                    path=path,
                )
                continue
            key = self.build(raw_key, path).value
            if key == "<<":
                self.problems.add(
                    key_at,
                    "YAML 1.2 has no merge keys ('<<')",
                    "Take over another recipe's keys with `extends: other.yaml`.",
                    path=path,
                )
                continue
            if key in children:
                first = children[key].key_at
                place = f"first in line {first.line}" if first.line else "in the same override"
                self.problems.add(
                    key_at, f"this key is here twice, {place}", "Keep one of them.", path=(*path, key)
                )
            children[key] = self.build(raw_child, (*path, key), key_at)
        return children


def _to_int(text: str) -> int:
    if text.startswith(("0o", "0x")):
        return int(text, 0)
    return int(text)


def _to_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _to_int,
    "float": _to_float,
    "str": str,
}


def _explain(said: str) -> tuple[str, str, bool]:
    """Return what is wrong, what to do, and whether the place is where the value begins."""
    for pattern, what, todo in _EXPLANATIONS:
        if match := re.search(pattern, said):
            return match.expand(what), todo, what.startswith("this ")
    return said.removeprefix("None "), "See the lines around it.", False
