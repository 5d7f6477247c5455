"""What is generated in recipes/ is that of the recipes and the code as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hf_finetune.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
spec = importlib.util.spec_from_file_location("make_readme", RECIPES / "make_readme.py")
make_readme = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_readme)


def test_the_page_and_the_schema_are_fresh():
    assert (RECIPES / "README.md").read_text() == make_readme.build_page(), "run: make readme"
    assert (RECIPES / "schema.json").read_text() == make_readme.build_schema(), "run: make readme"


@pytest.mark.parametrize("path", list(make_readme.find_recipes()), ids=lambda path: path.stem)
def test_every_recipe_is_right_and_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# yaml-language-server: $schema=")
    assert (path.parent / lines[0].partition("$schema=")[2]).resolve() == RECIPES / "schema.json"
    assert lines[1].startswith("# ")
    assert any(line.startswith("#   run        hf-finetune run recipes/") for line in lines[:8])
    load_recipe(path)
