"""`./` and `../` in a recipe are relative to the file they stand in; anything else is left alone."""

from pathlib import Path

from hf_finetune.recipe import load_recipe


def test_paths_with_a_leading_dot_belong_to_the_recipe(tmp_path, monkeypatch):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "base.yaml").write_text(
        "task: image-classification\nmodel: {checkpoint: ./small}\n"
        "data: {path: ../pictures, data_files: {train: ['./a.csv', b.csv]}}\n"
    )
    (tmp_path / "top.yaml").write_text("extends: recipes/base.yaml\ndata: {data_dir: ./deep}\n")
    monkeypatch.chdir("/")
    recipe = load_recipe(tmp_path / "top.yaml")
    assert Path(recipe.model.checkpoint) == folder / "small"
    assert Path(recipe.data.path) == tmp_path / "pictures"
    assert recipe.data.data_files == {"train": [str(folder / "a.csv"), "b.csv"]}
    assert recipe.data.data_dir == str(tmp_path / "deep")


def test_hub_ids_and_overrides_are_left_alone(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("task: image-classification\nmodel: {checkpoint: org/model}\ndata: {path: org/data}\n")
    recipe = load_recipe(path, ["data.path=./here"])
    assert recipe.model.checkpoint == "org/model"
    assert recipe.data.path == "./here"  # of the command line: relative to where it runs
