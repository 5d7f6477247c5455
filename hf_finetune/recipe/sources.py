"""A recipe file and the files it extends -> one tree of nodes.

`extends: base.yaml` (or a list of files, later ones winning) is relative to the file it stands in. Mappings
merge key by key, everything else is replaced, lists too. A mapping that names another thing than the base
(`loss: {name: focal}` over `loss: {name: label_smoothing, factor: 0.1}`) replaces it: options of one thing
mean nothing to another.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_finetune.recipe.places import KeyPath, Node, Place, Problems
from hf_finetune.recipe.wording import describe
from hf_finetune.recipe.yaml12 import parse

__all__ = ["NAMING_KEYS", "merge", "read_tree"]

NAMING_KEYS: dict[KeyPath, str] = {("task",): "name", ("loss",): "name", ("model", "peft"): "method"}
"""Mappings that say by one key what they are, and by the others how."""

FILE_KEYS = {("model", "checkpoint"), ("data", "path"), ("data", "data_dir"), ("data", "data_files")}
"""Where a Hub id or a library's own name may stand too, so that only a leading dot makes it a path."""


def read_tree(path: Path, problems: Problems, *, is_local: bool = True) -> Node | None:
    """Read a recipe with everything it extends.

    Args:
        path: The recipe.
        problems: Where mistakes are noted; `is_incomplete` when a file cannot be read.
        is_local: False keeps `extends` inside the recipe's folder.

    Returns:
        The merged tree without `extends`; None when the recipe itself cannot be read.
    """
    place = Place(os.fspath(path))
    return _read(path, place, problems, chain=(), root=None if is_local else path.parent)


def merge(base: Node, over: Node, path: KeyPath = ()) -> Node:
    """Return `base` with the keys of `over` on top, deeply."""
    if path in NAMING_KEYS and isinstance(base.value, str):
        base = replace(base, value={NAMING_KEYS[path]: base})  # the name alone is the short form
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if path in NAMING_KEYS and _names_other(base.value, over.value, NAMING_KEYS[path]):
        return over
    merged = dict(base.value)
    for key, child in over.value.items():
        merged[key] = merge(merged[key], child, (*path, key)) if key in merged else child
    return replace(over, value=merged)


def _names_other(base: dict[Any, Node], over: dict[Any, Node], key: str) -> bool:
    return key in base and key in over and base[key].value != over[key].value


def _read(
    path: Path, named_at: Place, problems: Problems, *, chain: tuple[Path, ...], root: Path | None
) -> Node | None:
    text = _read_text(path, named_at, problems)
    node = parse(text, os.fspath(path), problems) if text is not None else None
    if node is None:
        problems.is_incomplete = True
        return None
    if not isinstance(node.value, dict):
        problems.is_incomplete = True
        what = "the file is empty" if node.value is None else f"got {describe(node.value)}"
        todo = "Put a space after each colon." if isinstance(node.value, str) else None
        problems.add(node.at, f"{what}, expected lines such as `task: image-classification`", todo)
        return None
    own = dict(node.value)
    bases = _bases(own.pop("extends", None), problems)
    if "imports" in own:
        own["imports"] = _beside(own["imports"], path.parent)
    own = {key: _anchor(child, (key,), path.parent) for key, child in own.items()}
    tree = replace(node, value={})
    chain = (*chain, path.resolve())
    for base in bases:
        base_path = path.parent / base.value
        if base_path.resolve() in chain:
            problems.is_incomplete = True
            problems.add(base.at, f"extends: {base.value} leads back to this recipe", "Break the circle.")
        elif root is not None and not _is_inside(base_path, root):
            problems.is_incomplete = True
            problems.add(
                base.at, f"extends: {base.value} is outside the recipe's folder", "Use files beside it."
            )
        else:
            below = _read(base_path, base.at, problems, chain=chain, root=root)
            tree = merge(tree, below) if below is not None else tree
    return merge(tree, replace(node, value=own))


def _read_text(path: Path, named_at: Place, problems: Problems) -> str | None:
    name = os.fspath(path)
    if name not in problems.files:
        problems.files.append(name)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        todo = f"In this folder: {', '.join(near[:8])}" if near else "Check the path."
        what = "no such file"
    except IsADirectoryError:
        what, todo = "a folder, not a recipe", "Name a .yaml file in it."
    except UnicodeDecodeError as error:
        what, todo = f"not UTF-8 text (byte {error.start})", "Save it as UTF-8."
    except OSError as error:
        what, todo = f"cannot be read: {error.strerror}", "Check its permissions."
    problems.add(named_at, what if not named_at.line else f"extends: {name}: {what}", todo)
    return None


def _bases(node: Node | None, problems: Problems) -> list[Node]:
    if node is None:
        return []
    entries = node.value if isinstance(node.value, list) else [node]
    for entry in entries:
        if not isinstance(entry.value, str) or not entry.value:
            what = f"extends: got {describe(entry.value)}, expected a recipe file, or a list of them"
            problems.add(entry.at, what)
    return [entry for entry in entries if isinstance(entry.value, str) and entry.value]


def _beside(node: Node, folder: Path) -> Node:
    """Make the relative file names of `imports` relative to the working directory instead of the recipe."""
    if isinstance(node.value, list):
        return replace(node, value=[_beside(child, folder) for child in node.value])
    return replace(node, value=os.fspath(folder / node.value)) if isinstance(node.value, str) else node


def _anchor(node: Node, path: KeyPath, folder: Path) -> Node:
    """Make `./name` and `../name` of checkpoint and data absolute: they are relative to their file."""
    if isinstance(node.value, dict):
        return replace(node, value={k: _anchor(child, (*path, k), folder) for k, child in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[_anchor(child, path, folder) for child in node.value])
    is_relative = isinstance(node.value, str) and node.value.startswith(("./", "../"))
    if is_relative and path[:2] in FILE_KEYS:
        return replace(node, value=os.path.abspath(folder / node.value))
    return node


def _is_inside(path: Path, root: Path) -> bool:
    # by name, not resolved: a Hub cache links its files to elsewhere
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root))
