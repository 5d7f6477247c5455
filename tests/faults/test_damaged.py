"""A damaged checkpoint is named, passed over, and made up for."""

import logging
import shutil
from pathlib import Path

import pytest
from real_runs import command

from hf_finetune.engines import checkpoint

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
