import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from real_runs.inject import file_faults

from hf_finetune.errors import RunFolderError
from hf_finetune.run_folder import RunFolder, hold, lock, own, write_json

TODO = "Wait for it."


def make_run(path: Path) -> RunFolder:
    """Make what a run and a crash leave, and something of the user's beside it."""
    folder = RunFolder(path)
    for name in ("checkpoint-3", "checkpoint-6", ".replaced-checkpoint-9", ".partial-checkpoint-12", "best"):
        (path / name).mkdir(parents=True)
        (path / name / "model.safetensors").write_bytes(b"old")
    folder.predictions("test").parent.mkdir()
    folder.recipe.write_text("task: x\n")
    for file in (folder.scores, folder.log, folder.card, path / "scores.json.part", path / "my notes.txt"):
        file.write_text("{}")
    (path / "checkpoint-of-mine").mkdir()
    return folder


MINE = ["checkpoint-of-mine", "my notes.txt"]


def names_in(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir())


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
    folder = make_run(tmp_path)
    folder.claim(resume=False, overwrite=True)
    assert folder.recipe.exists(), "claiming must not cost the old run"
    folder.clear()
    assert names_in(tmp_path) == MINE


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # Python 3.12
def test_overwrite_killed_at_any_moment_leaves_no_run_to_go_on_from(tmp_path):
    """The old run is there as a whole, or is none any more: whatever starts next removes the rest."""
    whole, is_gone = {}, []
    for nth in range(1, 200):
        path = tmp_path / str(nth)
        folder = make_run(path)
        whole = whole or names_in(path)
        if (child := os.fork()) == 0:
            file_faults.install(
                file_faults.Fault("signal", str(path), nth=nth, signals=[signal.SIGKILL], removals=True)
            )
            folder.clear()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        is_gone.append(not folder.has_run())
        if folder.has_run():
            assert names_in(path) == whole
            continue
        folder.tidy()
        assert names_in(path) == MINE
        if os.WIFEXITED(status):
            break
    assert is_gone == [False] + [True] * (nth - 1)
    assert nth > 15, "every file of the run is a moment of its own"


def test_a_replacement_that_was_killed_can_be_resumed_or_started_anew(tmp_path):
    folder = make_run(tmp_path)
    (tmp_path / ".clearing").mkdir()
    for resume in (True, False):
        folder.claim(resume=resume, overwrite=False)
    folder.tidy()
    with pytest.raises(RunFolderError, match="no run to resume"):
        folder.claim(resume=True, overwrite=False)


def test_a_new_run_keeps_nothing_that_an_earlier_one_hid(tmp_path):
    """As after `rm -r RUN/*`: the next --resume must not restore the old run's checkpoint."""
    hidden = tmp_path / ".replaced-checkpoint-9"
    hidden.mkdir()
    folder = RunFolder(tmp_path)
    folder.claim(resume=False, overwrite=False)
    folder.clear()
    assert names_in(tmp_path) == []


def test_what_is_not_of_a_run_is_not_replaced_unasked(tmp_path):
    (tmp_path / "README.md").write_text("of my project")
    with pytest.raises(RunFolderError, match=r"README\.md would be replaced, and no run is in this folder"):
        RunFolder(tmp_path).claim(resume=False, overwrite=False)
    RunFolder(tmp_path).claim(resume=False, overwrite=True)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("best", lambda path: path.symlink_to("elsewhere"), "best is a link"),
        ("best", lambda path: path.write_text(""), "best is a file"),
        ("predictions", lambda path: path.write_text(""), "predictions is a file"),
        ("scores.json", lambda path: path.mkdir(), r"scores\.json is a folder"),
    ],
)
def test_what_a_run_could_not_replace_at_its_end_is_named_before_it_starts(tmp_path, name, make, message):
    folder = RunFolder(tmp_path)
    folder.recipe.write_text("task: x\n")
    (tmp_path / "elsewhere").mkdir()
    make(tmp_path / name)
    with pytest.raises(RunFolderError, match=message):
        folder.claim(resume=True, overwrite=False)


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(RunFolderError, match="no run to resume"):
        RunFolder(tmp_path).claim(resume=True, overwrite=False)


def test_a_folder_that_cannot_be_made_is_the_users_to_fix(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot be made: .*training\.output_dir"):
        RunFolder(tmp_path / "file" / "run").claim(resume=False, overwrite=False)


def test_the_command_that_goes_on_names_the_folder_where_it_is_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("new"))
    folder.path.mkdir()
    folder.recipe.write_text("training:\n  output_dir: old\n")
    assert folder.say_resume() == "hf-finetune run new/recipe.yaml --resume training.output_dir=new"
    folder.recipe.write_text("training:\n  output_dir: ./new\n")
    assert folder.say_resume() == "hf-finetune run new/recipe.yaml --resume"


def test_a_moved_run_says_where_its_trackers_are_now(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url, here = "https://comet.example/x", "tensorboard --logdir old/tracking/tensorboard"
    there = f"mlflow ui --backend-store-uri file:{tmp_path}/old/tracking/mlflow"
    places = {"comet": url, "tensorboard": here, "mlflow": there}
    RunFolder(Path("old")).save_trackers({name: {"key": 1, "place": place} for name, place in places.items()})
    for name in ("old", "new"):
        if name == "new":
            Path("old").rename("new")
        found = RunFolder(Path(name)).load_trackers()
        assert {memory["place"] for memory in found.values()} == {
            url,
            here.replace("old", name),
            there.replace("/old/", f"/{name}/"),
        }


def test_json_is_whole_and_has_no_nan(tmp_path):
    path = tmp_path / "deep" / "scores.json"
    write_json(path, {"loss": float("nan"), "list": [1.0, float("inf")], 3: ("a",)})
    assert json.loads(path.read_text()) == {"loss": None, "list": [1.0, None], "3": ["a"]}
    assert [file.name for file in path.parent.iterdir()] == ["scores.json"]


# ---- one run at a time -------------------------------------------------------------------------------------


def test_the_refusal_names_the_owner_and_nothing_stays_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/hf-finetune", "run", "r.yaml", "training.seed=3"])
    with hold(tmp_path, todo=TODO) as refusal:
        assert refusal is None
        with (
            pytest.raises(RunFolderError, match="another run is going on") as refused,
            hold(tmp_path, todo=TODO),
        ):
            pass
    for word in (
        f"process {os.getpid()} on {socket.gethostname()}",
        "hf-finetune run r.yaml training.seed=3",
    ):
        assert word in str(refused.value)
    assert names_in(tmp_path) == []
    with hold(tmp_path, todo=TODO):
        pass


def test_a_lock_ends_with_its_owner_though_a_child_of_it_lives(tmp_path):
    """Data workers are forked with all that is open, and see only later that their parent was killed."""
    program = (
        "import os, sys, time; from pathlib import Path; from hf_finetune.run_folder import hold\n"
        "with hold(Path(sys.argv[1]), todo=''):\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    child = int(owner.stdout.readline())
    try:
        with pytest.raises(RunFolderError, match=f"process {owner.pid} on"), hold(tmp_path, todo=TODO):
            pass
        owner.kill()
        owner.wait()
        os.kill(child, 0)
        with hold(tmp_path, todo=TODO):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()


@pytest.mark.parametrize(
    "left", ["", "[1", '{"pid": 1, "host": "elsewhere", "started": "then", "command": "run"}']
)
def test_a_lock_file_without_an_owner_stops_nobody(tmp_path, caplog, left):
    (tmp_path / ".lock").write_text(left)
    with hold(tmp_path, todo=TODO):
        pass
    assert ("did not end properly: process 1 on elsewhere" in caplog.text) is ("elsewhere" in left)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog, number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", fail)
    with hold(tmp_path, todo=TODO) as refusal:
        assert refusal is None
    assert names_in(tmp_path) == []
    assert f"cannot lock their folder on this file system ({os.strerror(number)})" in caplog.text


def test_of_several_processes_the_first_takes_it_and_tells_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with hold(tmp_path, todo=TODO):
        with hold(tmp_path, todo=TODO) as refusal:
            assert isinstance(refusal, RunFolderError), "raised by all of them, once they are connected"
        monkeypatch.setenv("RANK", "1")
        with hold(tmp_path, todo=TODO) as refusal:
            assert refusal is None
        assert (tmp_path / ".lock").exists()


def test_a_run_that_begins_and_ends_just_before_the_lock_is_taken_is_not_cleared(tmp_path, monkeypatch):
    folder, take = RunFolder(tmp_path / "run"), lock.RunLock.take

    def take_after_another(self):
        folder.recipe.write_text("of another run")
        take(self)

    monkeypatch.setattr(lock.RunLock, "take", take_after_another)
    with own(folder, resume=False, overwrite=False) as refusal:
        assert "another run is in this folder" in str(refusal)
