"""A full disk ends a run with one message, the last checkpoint whole and nothing half-written left."""

import shutil

import pytest
from real_runs import command
from real_runs.inject import file_faults

from hf_finetune.engines import checkpoint

FILES = [
    "rng_state.pth",
    "engine_state.pth",
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "trainer_state.json",
    "recipe_stamp.json",
    "manifest.json",
]


def test_the_list_of_files_is_that_of_a_checkpoint(unbroken):
    last = checkpoint.list_checkpoints(unbroken)[-1]
    assert sorted(path.name for path in last.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_no_space_for_a_file_of_a_checkpoint(hf_finetune, recipe, tmp_path, name):
    with file_faults.during("full", f".partial-checkpoint-4/{name}") as fault:
        done = hf_finetune("run", recipe, "training.eval_steps=2", "training.max_steps=4")
    assert fault.num_seen > 0
    assert done.code == 2
    assert "the disk is full: checkpoint-4 could not be written" in done.err
    assert "the last whole checkpoint is run/checkpoint-2" in done.err
    assert "--resume" in done.err
    assert "Traceback" not in done.err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"recipe.yaml", "environment.json", "log.jsonl", "checkpoint-2"}
    checkpoint.verify(tmp_path / "run" / "checkpoint-2")


@pytest.mark.parametrize("engine", command.ENGINES)
def test_a_run_goes_on_when_there_is_space_again(hf_finetune, recipe, expected, tmp_path, engine):
    with file_faults.during("full", ".partial-checkpoint-16/optimizer.pt"):
        assert hf_finetune("run", recipe, f"engine={engine}").code == 2
    done = hf_finetune("run", recipe, f"engine={engine}", "--resume")
    assert done.code == 0, done.err
    command.assert_same_run(expected, tmp_path / "run")


@pytest.mark.parametrize(
    "name",
    [
        "run/recipe.yaml",
        "run/environment.json.part",
        "run/log.jsonl.part",
        "run/best.part/config.json",
        "run/scores.json.part",
        "run/report.html.part",
    ],
)
def test_no_space_for_another_file_of_the_run(hf_finetune, recipe, expected, tmp_path, name):
    with file_faults.during("full", name) as fault:
        done = hf_finetune("run", recipe)
    assert fault.num_seen > 0
    assert done.code == 2
    assert "the disk is full" in done.err
    assert "Traceback" not in done.err
    for link in [path for path in tmp_path.rglob("*") if path.is_symlink()]:
        link.unlink()  # the full disk
    done = hf_finetune(
        "run", recipe, "--resume" if checkpoint.list_checkpoints(tmp_path / "run") else "--overwrite"
    )
    assert done.code == 0, done.err
    command.assert_same_run(expected, tmp_path / "run")


def test_no_space_for_a_line_of_the_log(hf_finetune, recipe, expected, tmp_path):
    with file_faults.during("full", "run/log.jsonl", nth=12):
        done = hf_finetune("run", recipe)
    assert done.code == 2
    assert "the disk is full" in done.err
    assert "run/checkpoint-" in done.err
    assert hf_finetune("run", recipe, "--resume").code == 0
    command.assert_same_run(expected, tmp_path / "run")


def test_no_space_for_the_weights_which_rust_writes(hf_finetune, recipe, unbroken, expected, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    with file_faults.during("limit", "best.part/config.json"):
        done = hf_finetune("run", recipe, "--resume")
    assert done.code == 2
    assert "the disk is full" in done.err
    assert hf_finetune("run", recipe, "--resume").code == 0
    command.assert_same_run(expected, tmp_path / "run")


def test_no_space_for_the_predictions_which_cpp_writes(hf_finetune, recipe, unbroken, expected, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    part = tmp_path / "run" / "predictions" / "eval.parquet.part"
    part.symlink_to("/dev/full")
    done = hf_finetune("run", recipe, "--resume")
    assert done.code == 2
    assert "the disk is full" in done.err
    part.unlink(missing_ok=True)
    assert hf_finetune("run", recipe, "--resume").code == 0
    command.assert_same_run(expected, tmp_path / "run")
