"""A recipe for sound on the Hub, as it is, against one on loopback that serves small things under its ids."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from published import WITHOUT_SAFETENSORS, save_keywords_shaped, save_small_wav2vec2

from hf_finetune.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
OF_THE_HUB = ["wav2vec2_keyword", "wav2vec2_minds14", "wavlm_librispeech_ctc", "whisper_small_common_voice"]


@pytest.mark.parametrize("name", OF_THE_HUB)
def test_the_recipes_say_what_they_expect_and_who_measured_it(name, run):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert recipe.expected["measured"] == "not by us"
    assert recipe.expected["source"].startswith("https://")
    assert len(recipe.model.revision or "") == 40
    done = run("check", str(recipe.source), "--schema-only")
    assert done.returncode == 0, done.stderr


def words_of(recipe) -> list[str]:
    """Return the words of the recipe's own `run` line, with its path made absolute."""
    lines = recipe.source.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("#   run ")]
    words = shlex.split(line.partition("hf-finetune ")[2])
    return [str(recipe.source) if word.endswith(".yaml") else word for word in words]


@pytest.mark.parametrize("name", ["deit_cifar", "vit_beans", *OF_THE_HUB])
def test_a_run_line_allows_a_pickle_where_the_hub_has_nothing_else(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert ("--allow-pickle" in words_of(recipe)) == (recipe.model.checkpoint in WITHOUT_SAFETENSORS)


def test_keyword_spotting_runs_unchanged_over_real_http(hub, run, tmp_path):
    recipe = load_recipe(RECIPES / "wav2vec2_keyword.yaml")
    model, data = recipe.model, recipe.data
    hub.add_folder(
        "model", model.checkpoint, save_small_wav2vec2(tmp_path / "wav2vec2"), revision=model.revision
    )
    published = hub.add_folder("dataset", data.path, save_keywords_shaped(tmp_path / "ks"))
    published.branches[data.revision] = published.branches["main"]
    done = run(*words_of(recipe))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "wav2vec2_keyword"
    scores = json.loads((folder / "scores.json").read_text())
    assert set(scores["test"]) >= {"loss", "accuracy", "f1"}
    stamp = json.loads((folder / "environment.json").read_text())
    assert stamp["checkpoint_revision"] == model.revision
    assert stamp["dataset_revision"] == published.branches["main"]
    assert stamp["rows"] == {"train": 72, "eval": 24, "test": 24}
    assert (folder / "report.html").exists()
