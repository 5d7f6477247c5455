"""The names a recipe may use, known without importing what they name: all that are wrong come at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_finetune.formatting import offer
from hf_finetune.recipe.places import Finding, KeyPath

__all__ = ["NAMES", "check_names"]

NAMES: dict[str, tuple[str, ...]] = {
    "task": ("audio-classification", "automatic-speech-recognition", "image-classification"),
    "metric": tuple(
        """accuracy cer confusion_matrix f1 hub mae matthews_correlation mse precision recall roc_auc
        top_k_accuracy wer""".split()  # noqa: SIM905 - a word each is easier to read
    ),
    "loss": ("bce_with_logits", "cross_entropy", "ctc", "focal", "huber", "l1", "mae", "mse"),
    "augmentation": tuple(
        """add_noise color_jitter frequency_mask gain horizontal_flip mix_clips pitch rand_augment
        random_clip random_crop random_erasing random_resized_crop rotation speed time_mask
        time_shift trivial_augment vertical_flip""".split()  # noqa: SIM905 - a word each is easier to read
    ),
    "engine": ("accelerate", "trainer"),
}
"""What each registry holds when nothing of the user's is imported; test_contracts.py holds it so."""

_REGISTRIES = {
    "TASKS": "task",
    "METRICS": "metric",
    "LOSSES": "loss",
    "AUGMENTATIONS": "augmentation",
    "ENGINES": "engine",
}


def check_names(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each name that nothing has registered.

    The user's own files are read, not run. Where one registers what cannot be read off it, the names of a
    recipe are looked up when they are needed.

    Args:
        recipe: As written, merged; it may be wrong in other ways.
    """
    own = _read_imports(recipe.get("imports") or ())
    if own is None:
        return
    for kind, path, name in _names_in(recipe):
        known = sorted({*NAMES[kind], *own.get(kind, ())})
        if name not in known:
            yield Finding(path, f"unknown {kind} {name!r}", offer(name, known))


def _names_in(recipe: Mapping[str, Any]) -> Iterator[tuple[str, KeyPath, str]]:
    data = recipe.get("data")
    lists = {
        ("metrics",): ("metric", recipe.get("metrics")),
        ("data", "augment"): ("augmentation", data.get("augment") if isinstance(data, Mapping) else None),
    }
    entries: list[tuple[str, KeyPath, Any]] = [
        (key, (key,), recipe.get(key)) for key in ("task", "loss", "engine")
    ]
    for path, (kind, items) in lists.items():
        entries += (
            [(kind, (*path, i), item) for i, item in enumerate(items)] if isinstance(items, list) else []
        )
    for kind, path, value in entries:
        if isinstance(value, Mapping) and "name" in value:
            path, value = (*path, "name"), value["name"]
        if isinstance(value, str) and value:
            yield kind, path, value


def _read_imports(files: Any) -> dict[str, set[str]] | None:
    """Return what the user's files register, by kind; None where that cannot be read off them."""
    found: dict[str, set[str]] = {}
    for name in files if isinstance(files, Sequence) and not isinstance(files, str) else ():
        try:
            tree = ast.parse(Path(name).read_text(encoding="utf-8"))
        except (OSError, TypeError, ValueError, SyntaxError):
            return None  # said elsewhere
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom) and _is_beside(node, Path(name).parent):
                return None
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            registry = ast.unparse(node.func.value).rpartition(".")[2]
            if node.func.attr == "register" and registry in _REGISTRIES:
                if not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant)):
                    return None
                found.setdefault(_REGISTRIES[registry], set()).add(str(node.args[0].value))
            elif node.func.attr == "register" and "atexit" not in registry:
                return None  # a registry by another name
    return found


def _is_beside(node: ast.Import | ast.ImportFrom, folder: Path) -> bool:
    """Tell whether an import brings in another file of the user's, which may register as well."""
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return True
        modules = [node.module or ""]
    else:
        modules = [alias.name for alias in node.names]
    for module in (name.partition(".")[0] for name in modules):
        if (folder / f"{module}.py").exists() or (folder / module).is_dir():
            return True
    return False
