"""A damaged checkpoint is named, passed over, and made up for; a damaged best model is named and not used."""

import logging
import shutil
from pathlib import Path

import pytest
from real_runs import command

from hf_finetune import load_recipe, run
from hf_finetune.engines import checkpoint
from hf_finetune.errors import RunFolderError
from hf_finetune.run_folder import hold, seal_best
from hf_finetune.trained import find_trained

DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3]),
    "emptied": lambda path: path.write_bytes(b""),
    "one bit flipped": lambda path: path.write_bytes(_flip(path.read_bytes())),
    "deleted": lambda path: path.unlink(),
}


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture
def run_folder(unbroken, tmp_path) -> Path:
    for folder in checkpoint.list_checkpoints(unbroken):
        shutil.copytree(folder, tmp_path / "run" / folder.name)
    return tmp_path / "run"


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_to_any_file_is_noticed_and_the_checkpoint_before_is_used(run_folder, caplog, damage):
    before, last = checkpoint.list_checkpoints(run_folder)
    files = sorted(path for path in last.rglob("*") if path.is_file())
    assert len(files) == 11
    for path in files:
        content = path.read_bytes()
        DAMAGES[damage](path)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hf_finetune"):
            assert checkpoint.find_last(run_folder) == before, path.name
        assert str(last) in caplog.text
        # a changed manifest accuses the file whose hash it now has wrong
        assert path.name in caplog.text or (path.name, damage) == ("manifest.json", "one bit flipped")
        path.write_bytes(content)
    assert checkpoint.find_last(run_folder) == last


def test_there_is_nothing_to_go_on_from_when_all_are_damaged(run_folder):
    for folder in checkpoint.list_checkpoints(run_folder):
        (folder / "optimizer.pt").unlink()
    assert checkpoint.find_last(run_folder) is None


@pytest.mark.parametrize(
    ("name", "damage", "engine"),
    [("model.safetensors", "one bit flipped", "accelerate"), ("engine_state.pth", "truncated", "trainer")],
)
def test_a_run_goes_on_from_the_checkpoint_before(
    hf_finetune, recipe, unbroken, expected, tmp_path, name, damage, engine
):
    run_folder = tmp_path / "run"
    shutil.copytree(unbroken, run_folder)
    before, last = checkpoint.list_checkpoints(run_folder)
    DAMAGES[damage](last / name)
    done = hf_finetune("run", recipe, "--resume", f"engine={engine}")
    assert done.code == 0, done.err
    assert f"skipping a damaged checkpoint: run/{last.name}: {name}" in done.err
    assert f"going on from run/{before.name}" in done.err
    command.assert_same_run(expected, run_folder)


def test_a_damaged_checkpoint_that_was_named_is_refused(hf_finetune, recipe, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    last = checkpoint.list_checkpoints(tmp_path / "run")[-1]
    DAMAGES["truncated"](last / "scheduler.pt")
    done = hf_finetune("run", recipe, "--resume", f"run/{last.name}")
    assert done.code == 2
    assert "scheduler.pt" in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "run" / "scores.json").exists()


def flip_best(run_folder: Path) -> None:
    path = run_folder / "best" / "model.safetensors"
    path.write_bytes(_flip(path.read_bytes()))


BEST_DAMAGES = {
    "a flipped bit": (flip_best, "run/best: model.safetensors is damaged"),
    "a torn file": (
        lambda run: DAMAGES["truncated"](run / "best" / "model.safetensors"),
        "run/best: model.safetensors has",
    ),
    "torn scores": (
        lambda run: (run / "scores.json").write_text('{"best":'),
        "run/scores.json: it is damaged",
    ),
    "scores of no kind": (
        lambda run: (run / "scores.json").write_text("[1]"),
        "run/scores.json: it is damaged",
    ),
}


@pytest.mark.parametrize("damage", BEST_DAMAGES)
def test_no_command_takes_a_damaged_best_or_its_scores_for_whole(
    hf_finetune, recipe, unbroken, tmp_path, damage
):
    shutil.copytree(unbroken, tmp_path / "run")
    change, message = BEST_DAMAGES[damage]
    change(tmp_path / "run")
    for words in (["evaluate", "run"], ["predict", "run", "x.png"], ["push", "run", "--repo-id", "a/b"]):
        done = hf_finetune(*words)
        assert done.code == 2
        assert message in done.err or (words[0] == "push" and "scores.json is damaged" in done.err)
        assert "hf-finetune run run/recipe.yaml --resume" in done.err
        assert "Traceback" not in done.err
    done = hf_finetune("report", "run")
    assert done.code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert ("The best model is damaged" in page) == ("scores" not in damage)


def test_following_the_advice_mends_the_best_model(hf_finetune, recipe, unbroken, expected, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    flip_best(tmp_path / "run")
    told = hf_finetune("evaluate", "run", "--split", "eval").err
    words = told[told.index("hf-finetune run") :].split()[1:4]
    assert words == ["run", "run/recipe.yaml", "--resume"]
    assert hf_finetune(*words).code == 0
    command.assert_same_run(expected, tmp_path / "run")


def test_scores_of_another_model_are_not_pushed_and_said_to_be_so(hf_finetune, unbroken, tmp_path):
    """A run that goes on after its end, and is killed between best/ and scores.json."""
    shutil.copytree(unbroken, tmp_path / "run")
    seal_best(tmp_path / "run" / "best", {"step": 99})
    message = (
        "scores.json is not of the model in best/: it was measured at update 8, and the model is of update 99"
    )
    done = hf_finetune("push", "run", "--repo-id", "a/b")
    assert (done.code, message in done.err) == (2, True)
    done = hf_finetune("evaluate", "run", "--split", "eval")
    assert (done.code, message in done.err) == (0, True)
    assert hf_finetune("report", "run").code == 0
    assert message in (tmp_path / "run" / "report.html").read_text()


def test_a_foreign_state_is_the_users_to_fix(hf_finetune, recipe, unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    last = checkpoint.list_checkpoints(tmp_path / "run")[-1]
    for name in ("manifest.json", "recipe_stamp.json"):  # as of a plain Trainer
        (last / name).unlink()
    (last / "trainer_state.json").write_text('["another", "shape"]')
    done = hf_finetune("run", recipe, "--resume")
    assert done.code == 2
    assert "trainer_state.json is not what this version of transformers writes: it is no mapping" in done.err


def test_a_folder_in_which_a_run_is_going_on_is_refused(hf_finetune, recipe, unbroken, expected, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    with hold(tmp_path / "run", todo=""):
        refused = [
            ["run", recipe, "--overwrite"],
            ["run", recipe, "--resume"],
            ["run", recipe, "--processes=2"],
        ]
        for words in [*refused, ["push", "run", "--repo-id", "a/b"]]:
            done = hf_finetune(*words)
            assert done.code == 2
            assert "run: another run is going on in this folder: process " in done.err
        with pytest.raises(RunFolderError, match="another run is going on"):  # from Python
            run(load_recipe(recipe), overwrite=True)
    command.assert_same_run(expected, tmp_path / "run")


def test_a_download_is_checked_and_a_repository_that_was_changed_is_noted(
    unbroken, tmp_path, monkeypatch, caplog
):
    """Its owner may have mended it on purpose, and its commit says what it is."""
    flat = tmp_path / "downloaded"
    shutil.copytree(unbroken / "best", flat)
    for name in ("recipe.yaml", "scores.json"):
        shutil.copy(unbroken / name, flat)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *words, **more: str(flat))
    for source in (flat, "me/digits"):
        assert find_trained(source).folder == flat
    assert "manifest" not in caplog.text
    with (flat / "config.json").open("a") as config:
        config.write(" ")
    with pytest.raises(RunFolderError, match=r"config\.json has .* Download it again"):
        find_trained(flat)
    assert find_trained("me/digits").folder == flat
    assert "me/digits: not as it was pushed: config.json has" in caplog.text
