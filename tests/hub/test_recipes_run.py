"""The recipes for the Hub, as they are, against one on loopback that serves small things under their ids."""

from __future__ import annotations

import json
from pathlib import Path

from localhub import LocalHub
from published import save_cifar_shaped, save_small_deit

from hf_finetune.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "deit_cifar.yaml"


def publish(hub: LocalHub, folder: Path) -> None:
    recipe = load_recipe(RECIPE)
    model, data = recipe.model, recipe.data
    hub.add_folder("model", model.checkpoint, save_small_deit(folder / "deit"), revision=model.revision)
    hub.add_folder("dataset", data.path, save_cifar_shaped(folder / "cifar"), revision=data.revision)


def test_deit_cifar_runs_unchanged_over_real_http(hub, run, tmp_path):
    publish(hub, tmp_path)
    done = run("run", str(RECIPE))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "deit_cifar"
    scores = json.loads((folder / "scores.json").read_text())
    assert set(scores["test"]) >= {"loss", "accuracy", "f1"}
    stamp = json.loads((folder / "environment.json").read_text())
    recipe = load_recipe(RECIPE)
    assert stamp["checkpoint_revision"] == recipe.model.revision
    assert stamp["dataset_revision"] == recipe.data.revision
    assert stamp["rows"] == {"train": 114, "eval": 6, "test": 40}
    assert (folder / "report.html").exists()
    assert "new layer cls_classifier.weight: the checkpoint has (20, 32), (10, 32) is needed" in done.stderr
    # what was fetched once is enough from here on
    again = run("evaluate", str(folder), HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["loss"] == scores["test"]["loss"]


def test_without_a_network_it_says_so_and_what_to_do(run, tmp_path):
    done = run("run", str(RECIPE), HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "deit_cifar.yaml:" in done.stderr
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr
    assert "HF_HUB_OFFLINE=1" in done.stderr
    assert str(tmp_path / "home") in done.stderr  # the cache that was looked into
    assert not (tmp_path / "runs" / "deit_cifar" / "recipe.yaml").exists()


def test_a_gated_checkpoint_says_where_to_ask(hub, run, tmp_path):
    recipe = load_recipe(RECIPE)
    folder = save_small_deit(tmp_path / "deit")
    hub.add_folder("model", recipe.model.checkpoint, folder, revision=recipe.model.revision, gated=True)
    done = run("run", str(RECIPE))
    assert done.returncode == 2
    assert f"the checkpoint '{recipe.model.checkpoint}' is gated. Ask for access at {hub.url}" in done.stderr
