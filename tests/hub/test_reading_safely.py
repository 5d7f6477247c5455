"""What comes from the Hub runs nothing and leaves its folder never, unless the command line says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from published import save_small_deit
from safetensors.torch import load_file

SMOKE = str(Path(__file__).parents[2] / "recipes" / "smoke" / "image-classification.yaml")
WORDS = (SMOKE, "model.checkpoint=org/model", "training.output_dir=run", "training.max_steps=2")


@pytest.fixture
def deit(tmp_path):
    return save_small_deit(tmp_path / "deit", image_size=16)


def told(done) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_a_pickle_is_read_only_when_the_command_line_says_so(hub, command, deit):
    pickle_weights(deit)
    hub.add_folder("model", "org/model", deit)
    text = told(command("check", *WORDS))
    assert "org/model at revision main has no safetensors weights" in text
    assert "add --allow-pickle" in text
    done = command("run", *WORDS, "--allow-pickle")
    assert done.returncode == 0, done.stderr


def test_even_then_nothing_of_a_pickle_runs(hub, command, deit, tmp_path):
    marker = tmp_path / "marker"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (marker,)

    pickle_weights(deit)
    torch.save({"classifier.weight": Bomb()}, deit / "pytorch_model.bin")
    hub.add_folder("model", "org/model", deit)
    done = command("run", *WORDS, "--allow-pickle")
    assert done.returncode != 0
    assert not marker.exists()


def test_code_of_a_repository_runs_only_when_the_command_line_says_so(hub, command, deit, tmp_path):
    marker = tmp_path / "marker"
    config = json.loads((deit / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (deit / "config.json").write_text(json.dumps(config))
    (deit / "own.py").write_text(f"open({str(marker)!r}, 'w')\nfrom transformers import DeiTConfig as Own\n")
    hub.add_folder("model", "org/model", deit, revision="a" * 40)
    text = told(command("check", *WORDS, f"model.revision={'a' * 40}"))
    assert f"org/model at revision {'a' * 40} comes with code of its own" in text
    assert "add --trust-remote-code" in text
    assert not marker.exists()
    done = command("check", *WORDS, f"model.revision={'a' * 40}", "--trust-remote-code")
    allowed = f"--trust-remote-code: code that comes with org/model at revision {'a' * 40} may run"
    assert allowed in " ".join(done.stderr.split())
    assert marker.exists()


@pytest.mark.slow
def test_a_trained_model_in_a_pickle_is_used_only_when_the_command_line_says_so(hub, command, tmp_path):
    assert command("run", SMOKE, "training.output_dir=run", "training.max_steps=2").returncode == 0
    run, flat = tmp_path / "run", tmp_path / "flat"
    first = json.loads((run / "scores.json").read_text())["test"]["loss"]
    pickle_weights(run / "best")
    (run / "best" / "manifest.json").unlink()  # as the versions before wrote it
    scores = json.loads((run / "scores.json").read_text())
    del scores["best"]["manifest"]
    (run / "scores.json").write_text(json.dumps(scores))
    shutil.copytree(run / "best", flat)
    for name in ("recipe.yaml", "scores.json"):
        shutil.copy(run / name, flat)
    repo = hub.add_folder("model", "alice/digits", flat)
    Image.new("RGB", (16, 16), "white").save(tmp_path / "x.png")
    for words in (("predict", "run", "x.png"), ("evaluate", "alice/digits")):
        text = told(command(*words))
        assert f"{words[1]} has no safetensors weights. To read tensors out of a pickle, add --allow" in text
    assert command("predict", "run", "x.png", "--allow-pickle").returncode == 0
    done = command("evaluate", "alice/digits", "--allow-pickle", "--trust-remote-code")
    assert json.loads(done.stdout)["loss"] == first
    # whose code would have run, had it any
    assert f"code that comes with alice/digits at revision {repo.find('main').oid} may run" in done.stderr


@pytest.mark.parametrize("evil", ["../../../../evil.safetensors", "/evil.safetensors"])
def test_names_in_a_repository_cannot_leave_its_folder(hub, command, deit, tmp_path, evil):
    """An index that points elsewhere, and a listing with such a name in it."""
    weights = deit / "model.safetensors"
    names = list(load_file(weights))
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, evil)}
    (deit / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copy(weights, tmp_path / "kept")
    weights.unlink()
    repo = hub.add_folder("model", "org/model", deit)
    commit = repo.find("main")
    entry = hub.store.lfs_entry(hub.store.put((tmp_path / "kept").read_bytes()))
    hub.store.commit(repo, "main", {**commit.files, evil: entry}, title="evil")
    done = command("run", *WORDS)
    assert done.returncode != 0
    assert not [path for path in tmp_path.rglob("evil*") if "hub" not in path.relative_to(tmp_path).parts[0]]
    assert not Path("/evil.safetensors").exists()
    text = told(done)
    assert "org/model" in text
