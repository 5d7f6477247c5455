"""Write recipes/README.md and recipes/schema.json from the recipes and the recipe's own models.

python recipes/make_readme.py           # or: make readme
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_finetune.recipe import Recipe, json_schema, load_recipe

FOLDER = Path(__file__).parent

HEAD = """# Recipes

Each file says in its first lines what it does and what it needs. `hf-finetune check RECIPE` finds all
that can be wrong with it before any training step; a word such as `training.learning_rate=3e-5` after it
changes a value. Editors that speak YAML read `schema.json`, named in the first line of each recipe: they
complete keys and mark mistakes.

A checkpoint marked `--allow-pickle` has no safetensors at its revision: both `check` and `run` need that
option, by which torch reads tensors, and nothing else, out of a pickle.

A path that begins with `./` or `../` is relative to the recipe's own file; `training.output_dir` to where the
command runs.

This page is generated: `make readme`.

"""


def main() -> None:
    """Write both files."""
    (FOLDER / "README.md").write_text(build_page(), encoding="utf-8")
    (FOLDER / "schema.json").write_text(build_schema(), encoding="utf-8")


def build_page() -> str:
    """Return the page: a row for each recipe, its score as its `expected` block says it."""
    header = ["recipe", "task", "checkpoint", "data", "engine", "score"]
    rows = [header, ["---"] * len(header), *map(_row, find_recipes())]
    return HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def build_schema() -> str:
    """Return the JSON schema of recipes as text."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def find_recipes() -> Iterator[Path]:
    """Yield all recipes, those at the top first."""
    yield from sorted(FOLDER.glob("*.yaml"))
    yield from sorted(FOLDER.glob("smoke/*.yaml"))


def _row(path: Path) -> list[str]:
    recipe = load_recipe(path)
    name = path.relative_to(FOLDER).as_posix()
    return [
        f"[{name}]({name})",
        recipe.task.name,
        _short(recipe.model.checkpoint)
        + (f", {recipe.model.peft.method}" if recipe.model.peft else "")
        + (" (`--allow-pickle`)" if "--allow-pickle" in path.read_text(encoding="utf-8") else ""),
        _short(recipe.data.path),
        recipe.engine,
        _score(recipe),
    ]


def _short(source: str) -> str:
    """Show what lies beside the recipes relative to them, and a Hub id as it is."""
    path = Path(source).expanduser()
    if path.is_relative_to(FOLDER):
        return path.relative_to(FOLDER).as_posix()
    return path.name if path.is_absolute() else source


def _score(recipe: Recipe) -> str:
    expected: dict[str, Any] = recipe.expected
    scores = [f"{key.replace('_', ' ')} {value}" for key, value in expected.items() if _is_score(key, value)]
    if "smoke" in recipe.source.parts:
        return "none: it checks the machinery"
    said = ", ".join(scores)
    if expected.get("measured") == "not by us":
        source = f" ({expected['source']})" if "source" in expected else ""
        return f"not measured by us{': ' if said else ''}{said}{source}"
    return f"{said}, measured {expected.get('date', '')}".strip(", ") if said else "not measured"


def _is_score(key: str, value: Any) -> bool:
    return key.startswith(("test_", "eval_", "baseline_")) and isinstance(value, int | float)


if __name__ == "__main__":
    main()
