"""What the folders of a data set mean: splits, classes, or both.

`datasets` takes a folder or a file for a split by a word in its name, wherever it is, and leaves out what has
no such word. Here the names of all folders of one level are looked at together: they are splits only where
every one of them is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hf_finetune.errors import DataError
from hf_finetune.formatting import list_some

__all__ = ["SPLIT_WORDS", "Layout", "divide", "find_split", "name_splits", "order_splits", "unwrap"]

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""As in `datasets`; here in any case."""
_SPLIT_OF_WORD = {word: split for split, words in SPLIT_WORDS.items() for word in words}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Files by their split.

    Args:
        splits: Split -> file -> its path below the folder of the split.
        stray: Files beside the folders of the splits.
        notes: What was decided where it could have been otherwise.
    """

    splits: dict[str, dict[str, str]]
    stray: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_split(name: str) -> str | None:
    """Return the split that a name speaks of; None where it speaks of none, or of two.

    Example:
        >>> [find_split(name) for name in ("train", "Test", "val-1", "my_train", "bus", "train_test")]
        ['train', 'test', 'validation', 'train', None, None]
    """
    found = {_SPLIT_OF_WORD[word] for word in re.split(r"[-._ 0-9]+", name.lower()) if word in _SPLIT_OF_WORD}
    return found.pop() if len(found) == 1 else None


def name_splits(expression: str) -> list[str]:
    """Return the splits that a split expression takes rows of.

    Example:
        >>> name_splits("train[10:20] + test")
        ['train', 'test']
    """
    return [part.partition("[")[0].strip() for part in expression.split("+")]


def order_splits(splits: Iterable[str]) -> list[str]:
    """Sort splits: train, validation, test, then the others by name."""
    usual = list(SPLIT_WORDS)
    return sorted(splits, key=lambda split: (usual.index(split) if split in usual else len(usual), split))


def unwrap(rests: Mapping[str, str], *, stop_at_splits: bool = False) -> tuple[str, dict[str, str]]:
    """Take off a folder that holds all the others, and no file itself: it tells no class from another.

    Args:
        rests: File -> its path.
        stop_at_splits: Leave a folder that is named as a split.

    Returns:
        The folders that were taken off, and the shorter paths.
    """
    wrapper, shorter = "", dict(rests)
    while True:
        tops = {rest.partition("/")[0] if "/" in rest else "" for rest in shorter.values()}
        top = tops.pop() if len(tops) == 1 else ""
        inner = {name: rest.partition("/")[2] for name, rest in shorter.items()}
        if not top or not all("/" in rest for rest in inner.values()) or (stop_at_splits and find_split(top)):
            return wrapper, shorter
        wrapper, shorter = f"{wrapper}{top}/", inner


def divide(names: Iterable[str], *, what: str, where: str, takes_options: bool = True) -> Layout:
    """Find out which folders are splits.

    They are where all folders at the top are named as splits (train, val, test ...); or all folders in the
    folders at the top, as in cat/train; or where all files of class folders are, as in cat/train_1.png.
    Else all is one split, "train".

    Args:
        names: The files that are used, relative to the folder of the data set.
        what: The folder, for messages.
        where: Its place in the recipe.
        takes_options: Whether there is a recipe in which files can be named.

    Raises:
        DataError: Some folders are named as splits and hold folders, others are not.
    """
    wrapper, rests = unwrap({name: name for name in names}, stop_at_splits=True)
    parts = {name: rest.split("/") for name, rest in rests.items()}
    deep = {name: part for name, part in parts.items() if len(part) > 1}
    tops = {part[0]: find_split(part[0]) for part in deep.values()}
    flat = {part[0] for part in deep.values() if len(part) == 2}
    named = sorted(top for top, split in tops.items() if split)
    if named and len(named) == len(tops) and not _are_classes(tops, flat):
        splits = _gather((find_split(part[0]), name, "/".join(part[1:])) for name, part in deep.items())
        return Layout(splits=splits, stray=sorted(set(parts) - set(deep)))
    if named and not set(named) <= flat:
        others = sorted(top for top in tops if top not in named)
        example = ", ".join(
            f"{split}: '{wrapper}{top}/**'" for split, top in _first_of_each(named, tops).items()
        )
        raise DataError(
            f"{what}: is the folder {wrapper + named[0]!r} a split or a class? "
            f"Beside it lie {list_some(others)}",
            where=where,
            todo=f"For a split, name its files: data: {{data_files: {{{example}}}}}; "
            f"for a class, name them all: data: {{data_files: '{wrapper}**'}}."
            if takes_options
            else "Name the folder of the split itself.",
        )
    notes = (
        [f"{what}: {', '.join(named)} {'is a class' if len(named) == 1 else 'are classes'}, as all folders"]
        if named
        else []
    )
    inner = {part[1] for part in deep.values() if len(part) > 2}
    by_class = {_SPLIT_OF_WORD.get(name.lower()) for name in inner}
    if deep and len(by_class) > 1 and None not in by_class and all(len(part) > 2 for part in parts.values()):
        splits = _gather(
            (find_split(part[1]), name, "/".join([part[0], *part[2:]])) for name, part in parts.items()
        )
        return Layout(splits=splits, notes=[f"{what}: a folder for each split in every class folder"])
    by_name = {find_split(part[-1].rpartition(".")[0]) for part in parts.values()}
    if len(by_name) > 1 and None not in by_name and len(deep) == len(parts):
        splits = _gather(
            (find_split(part[-1].rpartition(".")[0]), name, "/".join(part)) for name, part in parts.items()
        )
        return Layout(splits=splits, notes=[f"{what}: splits by the names of the files, which all have one"])
    if wrapper:
        notes.append(f"{what}: the classes are the folders in {wrapper.rstrip('/')}")
    return Layout(splits={"train": rests}, notes=notes)


def _are_classes(tops: Mapping[str, str | None], flat: set[str]) -> bool:
    """Whether folders with a word for a split in their names are classes: "bullet train", "steam train"."""
    is_plain = any(top.lower() in _SPLIT_OF_WORD for top in tops)
    return len(tops) > 1 and len(set(tops.values())) == 1 and flat == set(tops) and not is_plain


def _gather(files: Iterable[tuple[str | None, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for split, name, rest in files:
        found.setdefault(str(split), {})[name] = rest
    return {split: found[split] for split in order_splits(found)}


def _first_of_each(named: list[str], tops: Mapping[str, str | None]) -> dict[str, str]:
    return {split: top for top in reversed(named) if (split := tops[top])}
