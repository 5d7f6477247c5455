"""`imports`: the user's own files, from this machine only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_finetune.errors import RecipeError, UserError
from hf_finetune.recipe import Recipe, import_user_files, load_recipe

TEXT = "task: image-classification\nmodel: {checkpoint: m}\ndata: {path: p}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    before = set(sys.modules)
    yield Path("recipes")
    for name in set(sys.modules) - before:
        if name.startswith("hf_finetune_user_"):
            del sys.modules[name]


def write(folder: Path, *names: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(f"{TEXT}imports: [{', '.join(names)}]\n")
    return path


def test_files_are_found_beside_the_recipe_and_imported_once(folder: Path) -> None:
    (folder / "mine.py").write_text("import sys\nsys.count = getattr(sys, 'count', 0) + 1\n")
    recipe = load_recipe(write(folder, "mine.py"))
    assert recipe.imports == (str(Path("recipes/mine.py").resolve()),)
    try:
        import_user_files(recipe)
        import_user_files(recipe)
        assert sys.count == 1  # type: ignore[attr-defined]
    finally:
        del sys.count  # type: ignore[attr-defined]


def test_the_resolved_recipe_finds_them_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.py").write_text("")
    recipe = load_recipe(write(folder, "mine.py"))
    Path("run").mkdir()
    Path("run/recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe("run/recipe.yaml").imports == recipe.imports


def test_files_of_an_extended_recipe_are_beside_that_one(folder: Path) -> None:
    (folder / "mine.py").write_text("")
    write(folder, "mine.py")
    Path("top.yaml").write_text("extends: recipes/own.yaml\n")
    assert load_recipe("top.yaml").imports == (str(Path("recipes/mine.py").resolve()),)


def test_a_mistake_in_a_file_is_named_with_its_line(folder: Path) -> None:
    (folder / "mine.py").write_text("x = 1\ny = x + undefined\n")
    recipe = load_recipe(write(folder, "mine.py"))
    with pytest.raises(UserError, match=r"^recipes/own.yaml:4:11: mine.py cannot be .*undefined.*mine.py:2"):
        import_user_files(recipe)
    (folder / "mine.py").write_text("x = 1\n\ndef f(:\n")
    with pytest.raises(UserError, match=r"SyntaxError.*mine.py:3"):
        import_user_files(recipe)
    (folder / "mine.py").write_text("x = 1\n")
    import_user_files(recipe)  # mended in a notebook: imported after all


def test_two_files_of_one_name_are_refused(folder: Path) -> None:
    (folder / "mine.py").write_text("")
    Path("mine.py").write_text("")
    with pytest.raises(UserError, match=r"two imported files are called mine\.py"):
        import_user_files(load_recipe(write(folder, "mine.py", "../mine.py")))


def test_a_recipe_from_the_hub_may_not_import(folder: Path) -> None:
    (folder / "mine.py").write_text("")
    path = write(folder, "mine.py")
    with pytest.raises(
        RecipeError, match=r"own.yaml:4:1: imports: a recipe from the Hub may not import code"
    ):
        load_recipe(path, is_local=False)
    with pytest.raises(RecipeError, match="may not import code"):
        load_recipe(write(folder), ["imports=[recipes/mine.py]"], is_local=False)
    recipe = load_recipe(write(folder), is_local=False)
    assert not recipe.is_local
    forged: Recipe = recipe.model_copy(update={"imports": ("recipes/mine.py",)})
    with pytest.raises(UserError, match="may not import code"):
        import_user_files(forged)


def test_a_recipe_from_the_hub_extends_only_files_beside_it(folder: Path) -> None:
    Path("secret.yaml").write_text(TEXT)
    (folder / "base.yaml").write_text(TEXT)
    path = folder / "own.yaml"
    for name in ("../secret.yaml", str(Path("secret.yaml").resolve())):
        path.write_text(f"extends: {name}\n")
        load_recipe(path)
        with pytest.raises(RecipeError, match="outside the recipe's folder"):
            load_recipe(path, is_local=False)
    path.write_text("extends: base.yaml\n")
    assert load_recipe(path, is_local=False).task.name == "image-classification"


NAMES = (
    "task: mine\nmodel: {checkpoint: m}\ndata: {path: p, augment: [gain, blur]}\nmetrics: [accuracy, f2]\n"
)


def test_names_that_the_files_register_are_known_without_running_them(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import torch\nfrom hf_finetune import augment, tasks\nraise SystemExit\n"
        "@tasks.TASKS.register('mine')\nclass Mine: ...\n"
        "@augment.AUGMENTATIONS.register('blur')\nclass B: ...\n"
    )
    (folder / "own.yaml").write_text(f"{NAMES}imports: [mine.py]\n")
    with pytest.raises(
        RecipeError, match=r"^recipes/own.yaml:4:21: metrics.1: unknown metric 'f2'"
    ) as caught:
        load_recipe(folder / "own.yaml")
    assert len(caught.value.problems) == 1
    (folder / "own.yaml").write_text(NAMES)
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "own.yaml")
    assert [str(problem).split(": ")[1] for problem in caught.value.problems] == [
        "task",
        "data.augment.1",
        "metrics.1",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "import helper\n",
        "for n in 'ab': METRICS.register(n)(f)\n",
        "from m import METRICS as M\nM.register('f2')(f)\n",
    ],
)
def test_names_of_files_that_cannot_be_read_off_are_looked_up_later(folder: Path, code: str) -> None:
    (folder / "helper.py").touch()
    (folder / "mine.py").write_text(code)
    (folder / "own.yaml").write_text(f"{NAMES}imports: [mine.py]\n")
    assert load_recipe(folder / "own.yaml").task.name == "mine"
