"""YAML 1.2's core schema, the places of values, and writing what can be read back."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from hf_finetune.recipe.places import Node, Problems, dotted, to_plain, walk
from hf_finetune.recipe.yaml12 import dump, parse


def read(text: str) -> Any:
    problems = Problems()
    node = parse(text, "r.yaml", problems)
    problems.raise_if_any()
    assert node is not None
    return to_plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1.5E+3", -1500.0),
        ("12", 12),
        ("+12", 12),
        ("-1", -1),
        ("007", 7),
        ("0o17", 15),
        ("0xff", 255),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("'5'", "5"),
        # words of YAML 1.1 and of Python that are plain text here
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("None", "None"),
        ("tRUE", "tRUE"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-23", "2026-11-23"),
        ("0b11", "0b11"),
        ("=", "="),
        ("1e", "1e"),
        ("1.2.3", "1.2.3"),
        ("0o8", "0o8"),
        ("nan", "nan"),
        ("b67ec7f9c2d8d3f9a1b0", "b67ec7f9c2d8d3f9a1b0"),
    ],
)
def test_a_plain_word_means_what_the_core_schema_says(text: str, value: Any) -> None:
    got = read(f"key: {text}\n")["key"]
    assert got == value
    assert type(got) is type(value)


def test_nan() -> None:
    assert math.isnan(read("key: .nan\n")["key"])


def test_a_directive_for_yaml_1_1_changes_nothing() -> None:
    assert read("%YAML 1.1\n---\nkey: no\n") == {"key": "no"}


def test_anchors_and_aliases_are_values_of_their_own() -> None:
    assert read("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}


def test_an_anchor_may_be_used_again() -> None:
    assert read("a: &x 1\nb: &x 2\nc: *x\n") == {"a": 1, "b": 2, "c": 2}


def test_every_key_and_value_knows_its_place() -> None:
    text = "task: t\ndata:\n  augment: [{name: crop, padding: 4}, flip]\n  path:   somewhere\n"
    root = parse(text, "r.yaml", Problems())
    assert root is not None
    places = {dotted(path): (str(node.key_at), str(node.at)) for path, node in walk(root)}
    assert places["task"] == ("r.yaml:1:1", "r.yaml:1:7")
    assert places["data"] == ("r.yaml:2:1", "r.yaml:3:3")
    assert places["data.augment"] == ("r.yaml:3:3", "r.yaml:3:12")
    assert places["data.augment.0.padding"] == ("r.yaml:3:26", "r.yaml:3:35")
    assert places["data.augment.1"] == ("r.yaml:3:39", "r.yaml:3:39")
    assert places["data.path"] == ("r.yaml:4:3", "r.yaml:4:11")


def test_columns_count_characters_not_bytes() -> None:
    root = parse("{ä: 1, b: 2}\n", "r.yaml", Problems())
    assert root is not None
    child: Node = root.value["b"]
    assert str(child.key_at) == "r.yaml:1:8"


def test_whatever_is_written_is_read_back() -> None:
    rng = random.Random(0)
    words = [
        "no",
        "~",
        "",
        "null",
        "1e5",
        "5e-5",
        ".5",
        "0o7",
        "0x1",
        "1_000",
        "a: b",
        "- a",
        "#",
        "*x",
        "&x",
    ]
    words += [
        "!x",
        "%",
        "@",
        "'",
        '"',
        "\\",
        "{",
        "[",
        "é",
        "日本",
        "a\nb",
        "a\n",
        " a ",
        "2026-11-23",
        "<<",
        "=",
    ]
    words += ["True", ".inf", "-", "?", ":", "...", "---", "a #b", "\t", "\u2028", "+1", "x" * 300]
    numbers = [0, -1, 7, 2**70, 0.1, 5e-05, 1e-10, 1e22, -0.0, math.inf, 1e300]

    def make(depth: int) -> Any:
        kind = rng.choice(["word", "number", "constant"] + ["list", "mapping"] * (depth > 0))
        if kind == "word":
            return rng.choice(words)
        if kind == "number":
            return rng.choice(numbers)
        if kind == "constant":
            return rng.choice([True, False, None])
        size = rng.randrange(4)
        if kind == "list":
            return [make(depth - 1) for _ in range(size)]
        return {rng.choice(words[:-1]): make(depth - 1) for _ in range(size)}

    for _ in range(300):
        data = {"key": make(3)}
        if "<<" not in repr(data):
            assert read(dump(data)) == data
    for word in words:
        assert read(dump({"key": word})) == {"key": word}
