import json

import pytest

from hf_finetune.errors import RunFolderError
from hf_finetune.run_folder import RunFolder, write_json


def test_a_run_is_never_overwritten_unless_asked(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim(resume=False, overwrite=False)
    folder.recipe.write_text("task: x\n")
    with pytest.raises(RunFolderError, match=r"another run is in this folder.*--resume.*--overwrite"):
        folder.claim(resume=False, overwrite=False)
    assert folder.recipe.exists()
    folder.claim(resume=True, overwrite=False)
    assert folder.recipe.exists()


def test_overwrite_removes_the_run_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text("task: x\n")
    (tmp_path / "checkpoint-3").mkdir()
    folder.best.mkdir()
    folder.predictions("test").parent.mkdir()
    notes = tmp_path / "my notes.txt"
    notes.write_text("keep me")
    folder.claim(resume=False, overwrite=True)
    assert folder.recipe.exists(), "claiming must not cost the old run"
    folder.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["my notes.txt"]


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(RunFolderError, match="no run to resume"):
        RunFolder(tmp_path).claim(resume=True, overwrite=False)


def test_a_folder_that_cannot_be_made_is_the_users_to_fix(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot be made: .*training\.output_dir"):
        RunFolder(tmp_path / "file" / "run").claim(resume=False, overwrite=False)


def test_json_is_whole_and_has_no_nan(tmp_path):
    path = tmp_path / "deep" / "scores.json"
    write_json(path, {"loss": float("nan"), "list": [1.0, float("inf")], 3: ("a",)})
    assert json.loads(path.read_text()) == {"loss": None, "list": [1.0, None], "3": ["a"]}
    assert [file.name for file in path.parent.iterdir()] == ["scores.json"]
