"""The same input in two places: in two splits, under two labels, or several times in one split.

Nothing is refused: data are what they are. But a row of the test split that was trained on makes the score
too good, and an input with two labels cannot be learned, so all of it is said, with the names of the files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import PurePath
from typing import Any

import numpy as np

from hf_finetune.data.overlap import sort_splits
from hf_finetune.data.rows import RawRows
from hf_finetune.tasks.values import Space

__all__ = ["Duplicates", "find_duplicates"]

NUM_EXAMPLES = 3
MAX_NAME = 120
MIXER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no two lengths are mixed to the same."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Inputs that are there more than once.

    Args:
        what: A sentence without examples.
        rows: How many there are.
        splits: In which two splits the same inputs are; empty where it is not about that.
        examples: The first few, with the names of their files.
    """

    what: str
    rows: int
    splits: tuple[str, ...]
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what}, such as {'; '.join(self.examples)}"

    def to_json(self) -> dict[str, Any]:
        """Return what `environment.json` keeps of it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Members:
    """The rows whose input is there more than once, group by group, those of a group in order.

    Args:
        raw: The splits.
        labels: Names the classes.
        split: int [M], which split.
        row: int [M], number in the loaded split.
        group: int [M], the same for the same input; ascending.
    """

    raw: Mapping[str, RawRows]
    labels: Space
    split: np.ndarray
    row: np.ndarray
    group: np.ndarray

    def name(self, member: int, *, label: str | None = None) -> str:
        """Name a row by its split, its number and its file."""
        split = list(self.raw)[self.split[member]]
        told = [_name_file(self.raw[split], int(self.row[member])), *([label] if label else [])]
        told = ["".join(_escape(part)) for part in told if part]
        return f"{split} row {self.row[member]}" + (f" ({', '.join(told)})" if told else "")


def find_duplicates(
    raw: Mapping[str, RawRows], labels: Space, *, skip: Collection[tuple[str, str]] = ()
) -> list[Duplicates]:
    """Compare the inputs of all rows by their digests.

    Two are the same when 64 bits of a hash of their content are, and their shape is: among a million rows two
    different ones are taken for the same once in 37 million data sets.

    Args:
        raw: The rows of every split.
        labels: Names the classes.
        skip: Pairs of splits that are known to have the same rows: the second is not looked at.
    """
    raw = {name: rows for name, rows in raw.items() if name not in {second for _, second in skip}}
    keys = np.concatenate([_read_keys(rows) for rows in raw.values()])
    order = np.argsort(keys, kind="stable")
    is_first = np.concatenate([[True], keys[order][1:] != keys[order][:-1]])
    number = np.cumsum(is_first) - 1
    # a group goes by the place of its first row, so that examples come in the order of the rows
    group = order[is_first][number]
    is_double = np.bincount(number)[number] > 1
    in_order = np.lexsort((order[is_double], group[is_double]))
    chosen = order[is_double][in_order]
    members = _Members(
        raw=raw,
        labels=labels,
        split=np.concatenate([np.full(len(rows), i) for i, rows in enumerate(raw.values())])[chosen],
        row=np.concatenate([rows.rows for rows in raw.values()])[chosen],
        group=group[is_double][in_order],
    )
    if not len(chosen):
        return []
    across = (_compare_splits(members, *pair) for pair in combinations(sort_splits(raw), 2))
    within = (_find_repeats(members, name) for name in raw)
    return [one for one in (*across, _compare_labels(members), *within) if one is not None]


def _read_keys(rows: RawRows) -> np.ndarray:
    digests, shapes = rows.split.digests()[rows.rows], rows.split.shapes()[rows.rows]
    mixed: np.ndarray = digests.view(np.uint64) + shapes.view(np.uint64) * MIXER
    return mixed


def _compare_splits(members: _Members, first: str, second: str) -> Duplicates | None:
    names = list(members.raw)
    is_first, is_second = members.split == names.index(first), members.split == names.index(second)
    shared = np.intersect1d(members.group[is_first], members.group[is_second])
    there = np.flatnonzero(is_second & np.isin(members.group, shared))
    there = there[np.argsort(members.row[there], kind="stable")]
    if not len(there):
        return None
    examples = []
    for member in there[:NUM_EXAMPLES]:
        other = np.flatnonzero(is_first & (members.group == members.group[member]))[0]
        examples.append(f"{members.name(int(member))} is {members.name(int(other))}")
    total = len(members.raw[second])
    worth = ": its scores say nothing about data the model has not seen"
    how_many = "all" if len(there) == total else f"{len(there):,} of the"
    has = "has" if len(there) == 1 and total > 1 else "have"
    return Duplicates(
        what=f"{how_many} {total:,} rows of {second} {has} the same input as a row of {first}"
        + (worth if len(there) == total and first == "train" else ""),
        rows=len(there),
        splits=(first, second),
        examples=tuple(examples),
    )


def _compare_labels(members: _Members) -> Duplicates | None:
    codes = _read_codes(members)
    pairs, firsts = np.unique(np.stack([members.group, codes]), axis=1, return_index=True)
    groups, counts = np.unique(pairs[0], return_counts=True)
    torn = groups[counts > 1]
    if not len(torn):
        return None
    has_classes = all(rows.targets.classes is not None for rows in members.raw.values())
    examples = []
    for group in torn[:NUM_EXAMPLES]:
        two = np.sort(firsts[pairs[0] == group])[:2]
        labels = [members.labels.names[codes[at]] if has_classes else None for at in two]
        told = [members.name(int(at), label=label) for at, label in zip(two, labels, strict=True)]
        examples.append(" and ".join(told))
    kind = "class" if has_classes else "target"
    what = (
        f"one input has more than one {kind}"
        if len(torn) == 1
        else f"{len(torn):,} inputs have more than one {kind} each"
    )
    return Duplicates(what=what, rows=len(torn), splits=(), examples=tuple(examples))


def _read_codes(members: _Members) -> np.ndarray:
    """Return int64 [M], the same for the same target."""
    codes = np.zeros(len(members.row), np.int64)
    known: dict[bytes, int] = {}
    for i, rows in enumerate(members.raw.values()):
        own = members.split == i
        classes = rows.targets.classes
        if classes is not None:
            codes[own] = classes[members.row[own]]
        elif own.any():
            taken = rows.targets.take(members.row[own])
            codes[own] = [known.setdefault(np.asarray(one).tobytes(), len(known)) for one in taken]
    return codes


def _find_repeats(members: _Members, name: str) -> Duplicates | None:
    own = np.flatnonzero(members.split == list(members.raw).index(name))
    groups, counts = np.unique(members.group[own], return_counts=True)
    repeats = int((counts - 1).sum())
    if not repeats:
        return None
    examples = []
    for group in groups[np.argsort(-counts, kind="stable")][:NUM_EXAMPLES]:
        two = own[members.group[own] == group][:2]
        if len(two) == 2:
            examples.append(f"{members.name(int(two[1]))} is {members.name(int(two[0]))}")
    most = f"; one input is there {counts.max():,} times" if counts.max() > 2 else ""
    verb = "rows repeat" if repeats > 1 else "row repeats"
    return Duplicates(
        what=f"{repeats:,} {verb} the input of another within {name}{most}",
        rows=repeats,
        splits=(),
        examples=tuple(examples),
    )


def _name_file(rows: RawRows, row: int) -> str:
    """Return the name of a row's file as the user knows it: below the folder of the data; or nothing."""
    column = rows.split.column
    # of the other columns some may not be decodable here
    value = rows.split.source.select_columns([column]).with_format("arrow")[[row]][column].to_pylist()[0]
    name = value.get("path") if isinstance(value, dict) else value
    return _shorten(name, rows.preparation.folders) if isinstance(name, str) else ""


def _shorten(name: str, folders: Collection[str]) -> str:
    member, _, archive = name.partition("::")
    if archive:
        name = f"{member.removeprefix('zip://')} in {PurePath(archive).name}"
    path = PurePath(name)
    if path.is_absolute():
        within = [path.relative_to(folder) for folder in folders if path.is_relative_to(folder)]
        name = str(within[0]) if within else "/".join(path.parts[-2:])
    return name if len(name) <= MAX_NAME else f"...{name[-MAX_NAME:]}"


def _escape(name: str) -> Iterator[str]:
    for letter in name:
        yield letter if letter.isprintable() else letter.encode("unicode_escape").decode()
