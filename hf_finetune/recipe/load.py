"""A file and overrides -> a Recipe, or every problem at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from hf_finetune.recipe.explain import explain
from hf_finetune.recipe.names import check_names
from hf_finetune.recipe.overrides import apply_override
from hf_finetune.recipe.places import Finding, KeyPath, Node, Place, Problems, dotted, to_plain, walk
from hf_finetune.recipe.recipe import Recipe
from hf_finetune.recipe.sources import read_tree

__all__ = ["NO_SWEEP", "load_recipe"]

NO_SWEEP = (
    "this version does not search",
    "Remove it, and start a run for each value: hf-finetune run RECIPE training.learning_rate=1e-4 "
    "training.output_dir=runs/first",
)
"""What is wrong with `sweep`, whatever it says, and what to do instead."""


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), *, is_local: bool = True, is_new: bool = True
) -> Recipe:
    """Read a recipe, what it extends and the overrides; check all that needs neither data nor network.

    Args:
        path: The YAML file.
        overrides: `dotted.key=value`, the value as YAML; later ones win.
        is_local: False for a recipe from the Hub: it may neither import code nor extend files elsewhere.
        is_new: False for the recipe of a run that was made: its names are looked up where they are needed,
            and a `sweep` that an earlier version let pass stays.

    Raises:
        RecipeError: With one line for each problem, as `file:line:column: key: what. What to do`.

    Example:
        recipe = load_recipe("recipes/quickstart.yaml", ["training.num_train_epochs=1"])
    """
    path, problems = Path(path), Problems()
    tree = read_tree(path, problems, is_local=is_local)
    start = Place(str(path), 1, 1)
    tree = tree or Node({}, start, start)
    for override in overrides:
        tree = apply_override(tree, override, problems)
    if problems.is_incomplete:  # what is missing may stand in the file that could not be read
        problems.raise_if_any()
    nodes = dict(walk(tree))
    if not is_local and nodes.get(("imports",), tree).value not in (None, []) and ("imports",) in nodes:
        todo = "Read the code, copy it and the recipe to this machine, and run the copy."
        problems.add(
            nodes["imports",].key_at, "a recipe from the Hub may not import code", todo, path=("imports",)
        )
    if is_new and ("sweep",) in nodes and nodes["sweep",].value is not None:
        problems.add(nodes["sweep",].key_at, *NO_SWEEP, path=("sweep",))
    for finding in check_names(to_plain(tree)) if is_new else ():
        problems.add(_place(finding, nodes), finding.what, finding.todo, path=finding.path)
    recipe = _validate(tree, nodes, problems)
    problems.raise_if_any()
    assert recipe is not None
    recipe._source, recipe._is_local = path, is_local
    recipe._places = {dotted(key): str(node.key_at) for key, node in nodes.items() if key}
    return recipe


def _validate(tree: Node, nodes: dict[KeyPath, Node], problems: Problems) -> Recipe | None:
    try:
        return Recipe.model_validate(to_plain(tree))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["loc"] in problems.paths:  # what is unreadable looks like nothing
                continue
            node = nodes.get(details["loc"])
            finding = explain(details, text=node.text if node else "")
            problems.add(_place(finding, nodes), finding.what, finding.todo, path=finding.path)
    return None


def _place(finding: Finding, nodes: dict[KeyPath, Node]) -> Place:
    if finding.path in nodes:
        node = nodes[finding.path]
        return node.key_at if finding.is_about_key else node.at
    path = finding.path
    while path not in nodes:
        path = path[:-1]
    return nodes[path].key_at
