"""The user's own files: imported before names are looked up, so that what they register is found."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path

from hf_finetune.errors import UserError
from hf_finetune.recipe.places import Problems
from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.sources import read_tree

__all__ = ["import_user_files", "list_imports"]


def import_user_files(recipe: Recipe) -> None:
    """Import every file of `imports`, once per process.

    Args:
        recipe: Reads `imports`.

    Raises:
        UserError: The recipe came from the Hub, or a file cannot be imported.
    """
    for index, name in enumerate(recipe.imports):
        where = recipe.where(f"imports.{index}")
        if not recipe.is_local:
            raise UserError(
                "a recipe from the Hub may not import code",
                where=where,
                todo="Read the code, copy it and the recipe to this machine, and run the copy.",
            )
        _import_file(Path(name), where)


def list_imports(path: Path) -> list[str]:
    """Return the files that a recipe imports, as absolute paths, whether they are there or not; none is run.

    Args:
        path: Of the recipe; one that cannot be read has none.
    """
    tree = read_tree(path, Problems())
    node = tree.value.get("imports") if tree is not None else None
    names = [child.value for child in node.value] if node is not None and isinstance(node.value, list) else []
    return [os.fspath(Path(name).resolve()) for name in names if isinstance(name, str)]


def _import_file(path: Path, where: str) -> None:
    # a real module name, so that worker processes can unpickle what the file defines
    module_name = f"hf_finetune_user_{path.stem}"
    loaded = sys.modules.get(module_name)
    if loaded is not None:
        if loaded.__file__ == str(path):
            return
        raise UserError(
            f"two imported files are called {path.name}: {loaded.__file__} and {path}",
            where=where,
            todo="Rename one of them.",
        )
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} cannot be imported", where=where, todo="It must be a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # code of the user's: it can raise anything
        del sys.modules[module_name]
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = getattr(error, "lineno", None) or (frames[-1].lineno if frames else None)
        raise UserError(
            f"{path.name} cannot be imported: {type(error).__name__}: {error}",
            where=where,
            todo=f"See {path}:{line}." if line else f"See {path}.",
        ) from error
