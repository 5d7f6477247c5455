"""The model card of every kind of run: metadata that validates, figures, no secrets, no markup of data."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import run_folders
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from hf_finetune.card import write_card

KINDS = ("digits", "regression", "multi_label", "large", "unfinished", "hostile")


def make(kind: str, folder: Path) -> str:
    getattr(run_folders, f"make_{kind}_run")(folder)
    return write_card(folder, repo_id="me/model")["README.md"].read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_has_a_card_with_valid_metadata(kind, tmp_path):
    text = make(kind, tmp_path)
    card = ModelCard(text)
    data = card.data.to_dict()
    assert data["library_name"] == "transformers"
    assert "hf-finetune" in data["tags"]
    assert yaml.safe_load(text.split("---")[1]) == data
    for heading in ("## Use", "## Training", "## Limits", "## Make it again"):
        assert heading in text
    again = write_card(tmp_path, repo_id="me/model")["README.md"].read_text(encoding="utf-8")
    assert again == text, "from the same folder the same card"
    picture = tmp_path / "curves.png"
    if picture.exists():
        image = Image.open(io.BytesIO(picture.read_bytes()))
        assert image.height == 400
        assert picture.stat().st_size < 100_000
        assert "](curves.png)" in text


def test_the_figures_are_those_of_the_best_model(tmp_path):
    card = ModelCard(make("digits", tmp_path))
    scores = json.loads((tmp_path / "scores.json").read_text())
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    for split in ("test", "eval"):
        for name in ("accuracy", "f1", "loss"):
            assert results[split, name] == scores[split][name]
    accuracy = scores["test"]["accuracy"]
    assert f"| accuracy | {accuracy:.6f} |" in card.text
    best = scores["best"]
    assert f"{best['value']:.6g} at update {best['step']}" in card.text
    assert "| **1** |  | 31 |" in card.text, "the confusion matrix"


def test_what_is_on_the_hub_is_named_by_its_id_and_nothing_else_is(tmp_path):
    text = make("digits", tmp_path)
    assert "base_model" not in text
    assert "datasets:" not in text
    environment = json.loads((tmp_path / "environment.json").read_text())
    environment |= {"checkpoint_revision": "1" * 40, "dataset_revision": "2" * 40}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    recipe["model"]["checkpoint"] = "org/base"
    recipe["data"] |= {"path": "org/data"}
    recipe["hub"] = {"license": "mit", "tags": ["a"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    data = ModelCard(write_card(tmp_path)["README.md"].read_text()).data
    assert (data.base_model, data.base_model_relation) == ("org/base", "finetune")
    assert (data.datasets, data.license, data.tags) == (["org/data"], "mit", ["hf-finetune", "a"])
    assert {r.dataset_revision for r in data.eval_results} == {"2" * 40}


def test_adapters_name_their_base(tmp_path):
    make("digits", tmp_path)
    (tmp_path / "best").mkdir(exist_ok=True)
    (tmp_path / "best" / "adapter_config.json").write_text("{}")
    environment = json.loads((tmp_path / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps(environment | {"checkpoint_revision": "1" * 40}))
    card = ModelCard(write_card(tmp_path, repo_id="me/model")["README.md"].read_text())
    assert (card.data.library_name, card.data.base_model_relation) == ("peft", "adapter")
    snippet = card.text.split("```python\n")[1].split("```")[0]
    compile(snippet, "snippet", "exec")
    assert 'AutoPeftModel.from_pretrained(\n    "me/model",\n' in snippet


def test_the_limits_name_shared_rows(tmp_path):
    make("digits", tmp_path)
    overlap, what, _ = run_folders.share_rows(tmp_path)
    limits = write_card(tmp_path)["README.md"].read_text().split("## Limits")[1].split("##")[0]
    assert f"* T{overlap[1:]}.\n* {what}.\n* 1 row repeats within train.\n" in limits


def test_data_cannot_write_markup(tmp_path):
    text = make("hostile", tmp_path)
    body = text.split("\n---\n", 1)[1].split("```")
    outside = "".join(body[::2])
    for mark in ("<script", "<img", "</title"):
        assert mark not in outside.replace("\\<", "")
    table = next(part for part in outside.split("\n\n") if "\n| **" in part).strip().splitlines()
    num_classes = len(table) - 2
    assert {line.replace("\\|", "").count("|") for line in table} == {num_classes + 2}


def test_a_secret_in_a_recipe_stays_out(tmp_path):
    make("digits", tmp_path)
    planted = f"hf_{secrets.token_hex(17)}"
    text = (tmp_path / "recipe.yaml").read_text().replace("learning_rate: 0.5", f"run_name: {planted}")
    (tmp_path / "recipe.yaml").write_text(text.replace("max_steps: 450", f"optim_args: {planted}"))
    assert planted not in write_card(tmp_path)["README.md"].read_text()


def test_it_needs_no_torch(tmp_path):
    make("digits", tmp_path)
    code = (
        "import sys, pathlib; from hf_finetune.card import write_card\n"
        "write_card(pathlib.Path(sys.argv[1]))\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_metadata_comes_back_as_it_went(tmp_path):
    """What of the Hub's own check can be done without it; the list of licenses is the Hub's alone."""
    from transformers.pipelines import PIPELINE_REGISTRY

    data = ModelCard(make("digits", tmp_path)).data
    again = ModelCard(f"---\n{data.to_yaml()}\n---\n", ignore_metadata_errors=False).data
    assert again.to_dict() == data.to_dict()
    assert [vars(result) for result in again.eval_results] == [vars(result) for result in data.eval_results]
    assert data.pipeline_tag in PIPELINE_REGISTRY.get_supported_tasks()
