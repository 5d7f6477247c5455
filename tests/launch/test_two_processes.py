"""`--processes 2` and Accelerate's launcher: connected, one that writes, exit codes kept, no leftovers."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from real_runs import command

from hf_finetune.engines import checkpoint
from hf_finetune.engines.checkpoint import list_checkpoints
from hf_finetune.errors import UserError
from hf_finetune.processes import ASKED, require_world_size

HALVED = "training.per_device_train_batch_size=5"
ACCELERATE = ("-m", "accelerate.commands.launch")
NUMBERS = ("--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
TWO = (*ACCELERATE, "--multi_gpu", *NUMBERS, "--main_process_port", "0")
LONG = ("training.max_steps=4000", "training.eval_steps=4000", "training.logging_steps=1")


def start_long(recipe: str, cwd: Path, *words: str, launcher: tuple[str, ...] = ()):
    """Start a long run on two processes, by our own launcher or another, and return when it trains."""
    own = () if launcher else ("--processes", "2")
    env = {"ACCELERATE_USE_CPU": "1"} if launcher else {}
    child = command.start(["run", recipe, HALVED, *LONG, *own, *words], cwd, launcher=launcher, **env)
    log = cwd / "run" / "log.jsonl"
    while child.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
        time.sleep(0.05)
    assert child.poll() is None, command.finish(child)
    return child


def wait_until_none_runs(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while command.list_processes(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert command.list_processes(folder) == []


def list_threads(word: str) -> list[str]:
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if word in name]


def test_two_processes_come_up_and_one_writes_and_prints(two_processes, unbroken):
    done, folder = two_processes
    assert json.loads((folder / "environment.json").read_text())["num_processes"] == 2
    last = list_checkpoints(folder)[-1]
    assert json.loads((last / "manifest.json").read_text())["num_processes"] == 2
    assert done.out.count("Best accuracy") == 1
    assert done.err.count("training ended") == 1
    steps = [(entry["step"], "eval_loss" in entry) for entry in command.read_log(folder)]
    assert steps == [(entry["step"], "eval_loss" in entry) for entry in command.read_log(unbroken)]
    names = [{p.name for p in run.iterdir() if p not in list_checkpoints(run)} for run in (folder, unbroken)]
    assert names[0] == names[1]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed by Linux' /proc")
def test_the_processes_are_disconnected_before_python_ends(hf_finetune):
    """Otherwise gloo's threads abort one now and then, when all is done (pytorch issue 190489)."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    model.cycle = [model]
    model(torch.ones(1, 1)).backward()
    del model
    assert list_threads("gloo")
    assert hf_finetune("schema").code == 0
    assert not torch.distributed.is_initialized()
    assert not list_threads("gloo")


def test_a_bad_recipe_ends_with_2_before_anything_starts(hf_finetune, recipe):
    done = hf_finetune("run", recipe, "training.learning_rat=1", "--processes", "2")
    assert done.code == 2
    assert "learning_rate" in done.err


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_number_of_processes_that_makes_no_sense(hf_finetune, recipe, number):
    done = hf_finetune("run", recipe, f"--processes={number}")
    assert done.code == 2
    assert "expected" in done.err


def test_a_launcher_inside_a_launcher_is_refused(hf_finetune, recipe, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    done = hf_finetune("run", recipe, "--processes", "2")
    assert done.code == 2
    assert "a launcher has started this process already" in done.err


@pytest.mark.parametrize(
    ("env", "num_processes"),
    [
        ({ASKED: "2"}, 1),
        ({"WORLD_SIZE": "2"}, 1),  # accelerate launch --multi_gpu without a GPU
        ({"MASTER_ADDR": "127.0.0.1", "ACCELERATE_MIXED_PRECISION": "no"}, 1),  # accelerate launch --cpu
    ],
)
def test_too_few_processes_are_noticed(monkeypatch, env, num_processes):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"were asked for, but {num_processes} came up"):
        require_world_size(num_processes)


def test_the_right_number_of_processes_passes(monkeypatch):
    require_world_size(1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    require_world_size(2)


@pytest.mark.slow
def test_the_other_engine_gives_the_same(two_processes, recipe, tmp_path):
    done = command.run(["run", recipe, HALVED, "engine=accelerate", "--processes=2"], tmp_path)
    assert done.code == 0, done.err
    command.assert_same_run(command.read_run(two_processes[1]), tmp_path / "run")


@pytest.mark.slow
def test_accelerate_launch_gives_the_same(two_processes, recipe, tmp_path):
    done = command.run(["run", recipe, HALVED], tmp_path, launcher=TWO, ACCELERATE_USE_CPU="1")
    assert done.code == 0, done.err
    assert done.out.count("Best accuracy") == 1
    command.assert_same_run(command.read_run(two_processes[1]), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.skipif(torch.accelerator.is_available(), reason="these forms go wrong where there is no GPU")
@pytest.mark.parametrize("form", [["--cpu", *NUMBERS], ["--multi_gpu", *NUMBERS, "--main_process_port", "0"]])
def test_a_launcher_that_connects_fewer_than_asked_for_is_refused(recipe, tmp_path, form):
    words = ["run", recipe, "training.use_cpu=false"]
    done = command.run(words, tmp_path, launcher=(*ACCELERATE, *form))
    assert done.code != 0
    assert "processes were asked for, but 1 came up" in done.err
    assert "--processes N" in done.err
    assert not (tmp_path / "run" / "recipe.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "to_group", "engine"), [("SIGTERM", True, "trainer"), ("SIGINT", False, "accelerate")]
)
def test_signals_stop_all_after_a_checkpoint(recipe, tmp_path, signum, to_group, engine):
    child = start_long(recipe, tmp_path, f"engine={engine}")
    number = signal.Signals[signum]
    os.killpg(child.pid, number) if to_group else child.send_signal(number)
    done = command.finish(child)
    assert done.code == 128 + number, done.err
    assert done.err.count(f"stopped by {signum}") == 1
    assert "Traceback" not in done.err
    (last,) = list_checkpoints(tmp_path / "run")
    checkpoint.verify(last)
    wait_until_none_runs(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("to_group", [True, False], ids=["from-the-terminal", "to-the-launcher"])
@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM"])
def test_accelerates_launcher_stops_after_a_checkpoint_too(recipe, tmp_path, signum, to_group):
    """Its agent may repeat a signal: that is not a second Ctrl-C."""
    child = start_long(recipe, tmp_path, launcher=TWO)
    number = signal.Signals[signum]
    os.killpg(child.pid, number) if to_group else child.send_signal(number)
    done = command.finish(child)
    assert done.code != 0
    assert f"{signum}: finishing this update, then saving" in done.err
    assert f"stopped by {signum}" in done.err
    (last,) = list_checkpoints(tmp_path / "run")
    checkpoint.verify(last)
    assert f"the state is in run/{last.name}" in done.err
    wait_until_none_runs(tmp_path)


@pytest.mark.slow
def test_no_process_outlives_a_killed_launcher(recipe, tmp_path):
    child = start_long(recipe, tmp_path, "training.dataloader_num_workers=1")
    assert len(command.list_processes(tmp_path)) >= 5
    child.kill()
    command.finish(child)
    wait_until_none_runs(tmp_path)
    (last,) = list_checkpoints(tmp_path / "run")  # and they took the time for a checkpoint
    checkpoint.verify(last)


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_takes_the_others_along(recipe, tmp_path, rank):
    child = start_long(recipe, tmp_path)
    of_rank = {}
    for pid in command.list_processes(tmp_path):
        env = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        of_rank |= {word.decode()[5:]: pid for word in env if word.startswith(b"RANK=")}
    os.kill(of_rank[rank], signal.SIGKILL)
    done = command.finish(child)
    assert done.code == 128 + signal.SIGKILL
    assert f"process {rank} of 2" in done.err
    assert "SIGKILL" in done.err
    wait_until_none_runs(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("engine", command.ENGINES)
def test_a_run_stopped_on_one_process_goes_on_on_two_with_the_same_rows(
    hf_finetune, recipe, tmp_path, engine
):
    # each process draws its own dropout; for the last update of an epoch one row is left, for one of the two
    words = ["run", recipe, "model.config.hidden_dropout_prob=0.0", "training.save_total_limit=9"]
    words += ["data.splits.train=train[:201]", "training.include_num_input_tokens_seen=all"]
    assert hf_finetune(*words).code == 0
    whole = command.read_log(tmp_path / "run")
    for folder in list_checkpoints(tmp_path / "run")[1:]:
        shutil.rmtree(folder)
    done = command.run([*words, HALVED, f"engine={engine}", "--processes", "2", "--resume"], tmp_path)
    assert done.code == 0, done.err
    assert "num_processes: 1 -> 2, applied" in done.err
    resumed = command.read_log(tmp_path / "run")
    assert [entry["step"] for entry in resumed] == [entry["step"] for entry in whole]
    assert {entry["step"]: entry["epoch"] for entry in whole}[11] == 1.0
    for name in ("epoch", "num_input_tokens_seen", "total_flos"):
        assert [entry.get(name) for entry in resumed] == [entry.get(name) for entry in whole]
    # the same rows summed in another order; with other rows the losses are some 0.1 apart
    losses = [(a["loss"], b["loss"]) for a, b in zip(whole, resumed, strict=True) if "loss" in a]
    assert max(abs(a - b) for a, b in losses) < 1e-3


@pytest.mark.slow
def test_two_runs_at_once_do_not_meet(two_processes, recipe, tmp_path):
    words = ["run", recipe, HALVED, "--processes", "2"]
    children = [command.start(words, tmp_path / name) for name in ("a", "b")]
    expected = command.read_run(two_processes[1])
    for child, name in zip(children, ("a", "b"), strict=True):
        done = command.finish(child)
        assert done.code == 0, done.err
        command.assert_same_run(expected, tmp_path / name / "run")


@pytest.mark.slow
def test_a_mistake_found_by_the_children_is_told_once(two_processes, recipe, tmp_path):
    shutil.copytree(two_processes[1], tmp_path / "run")
    started = time.monotonic()
    done = command.run(["run", recipe, HALVED, "--processes", "2"], tmp_path)
    assert done.code == 2
    assert done.err.count("another run is in this folder") == 1
    missing = command.run(["run", recipe, "data.path=./nothing", "--processes", "2"], tmp_path / "b")
    assert missing.code == 2
    assert "nothing" in missing.err
    assert "Traceback" not in missing.err
    assert time.monotonic() - started < 60
