"""Whose code and whose pickles a run folder may have read: what was run here, or what a flag allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hf_finetune.errors import ModelError, UserError
from hf_finetune.made_here import list_strange_imports, remember_imports
from hf_finetune.pretrained import refusing_pickles
from hf_finetune.recipe import Recipe
from hf_finetune.trained import find_trained


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return what looks like a downloaded run, whose recipe imports a file beside it."""
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "evil.py").write_text("raise SystemExit('it ran')\n")
    (folder / "recipe.yaml").write_text(
        "extends: base.yaml\ntask: image-classification\nmodel: {checkpoint: m}\n"
        "data: {path: csv, data_files: x.csv}\n"
    )
    (folder / "base.yaml").write_text("imports: [evil.py]\n")
    (folder / "scores.json").write_text(
        json.dumps({"best": {}, "labels": ["a"], "problem_type": "single_label_classification"})
    )
    (folder / "config.json").write_text("{}")
    save_file({}, folder / "model.safetensors")
    return folder


def test_a_folder_that_was_not_made_here_asks(folder):
    evil = str(folder / "evil.py")
    with pytest.raises(
        UserError, match=r"imports code .*evil\.py\. Read the code; then say --allow-imports"
    ) as caught:
        find_trained(folder)
    assert caught.value.exit_code == 2
    assert find_trained(folder, allow_imports=True).recipe.imports == (evil,)
    assert find_trained(folder, allow_imports=False).recipe.imports == ()
    assert find_trained(folder, overrides=["imports=[]"]).recipe.imports == ()
    (folder / "evil.py").unlink()
    with pytest.raises(UserError, match=r"--skip-imports to leave it out"):
        find_trained(folder)
    assert find_trained(folder, allow_imports=False).recipe.imports == ()


def test_what_a_run_has_imported_here_needs_no_word_until_it_is_changed(folder, tmp_path):
    evil = str(folder / "evil.py")
    remember_imports(folder, [evil])
    assert find_trained(folder).recipe.imports == (evil,)
    assert list_strange_imports(folder, [evil, str(folder / "other.py")]) == [str(folder / "other.py")]
    folder.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="--allow-imports"):
        find_trained(tmp_path / "moved")
    (tmp_path / "moved").rename(folder)
    (folder / "evil.py").write_text("changed\n")
    with pytest.raises(UserError, match="or that was changed since"):
        find_trained(folder)


def test_a_state_that_cannot_be_kept_is_said_and_asks(folder, state, caplog):
    state.write_text("a file, where the folder should be")
    remember_imports(folder, [str(folder / "evil.py")])
    assert "evaluate and predict will ask for --allow-imports" in caplog.text
    with pytest.raises(UserError, match="--allow-imports"):
        find_trained(folder)


def test_a_decoy_beside_a_pickle_does_not_help(folder):
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"has no safetensors weights\. To read tensors out of a pickle, add"
    ):
        find_trained(folder, allow_imports=False)
    save_file({}, folder / "model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    torch.save({}, folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="has no safetensors weights"):
        find_trained(folder, allow_imports=False)
    assert find_trained(folder, allow_imports=False, allow_pickle=True).has_adapters


def test_a_safetensors_index_may_not_name_a_pickle(tmp_path):
    from transformers import AutoModelForImageClassification, ViTConfig

    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=4,
        patch_size=4,
    )
    model = AutoModelForImageClassification.from_config(config)
    config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "shard.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(model.state_dict(), "shard.bin")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    recipe = Recipe(task="image-classification", model={"checkpoint": str(tmp_path)}, data={"path": "x/y"})
    load = torch.load
    with (
        pytest.raises(ModelError, match=r"keeps weights in a pickle: .*shard\.bin"),
        refusing_pickles(recipe, "x"),
    ):
        AutoModelForImageClassification.from_pretrained(tmp_path, use_safetensors=True)
    assert torch.load is load
    with refusing_pickles(recipe.allow_pickle(), "x"):
        AutoModelForImageClassification.from_pretrained(tmp_path, use_safetensors=True)
