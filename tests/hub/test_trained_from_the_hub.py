"""What was pushed is evaluated and applied by its id, from an empty cache; adapters over their base."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
from published import save_cifar_shaped, save_small_deit

from hf_finetune.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "deit_cifar.yaml"
WORDS = ["model.peft={method: lora, r: 2}", "training.max_steps=3", "training.learning_rate=1e-2"]
WORDS += ["training.eval_strategy=no", "training.save_strategy=no", "hub.repo_id=alice/things"]


def test_adapters_are_evaluated_and_applied_by_their_id(hub, command, tmp_path):
    recipe = load_recipe(RECIPE)
    model, data = recipe.model, recipe.data
    hub.add_folder("model", model.checkpoint, save_small_deit(tmp_path / "deit"), revision=model.revision)
    hub.add_folder("dataset", data.path, save_cifar_shaped(tmp_path / "cifar"), revision=data.revision)
    done = command("run", str(RECIPE), *WORDS)
    assert done.returncode == 0, done.stderr
    assert "model.peft: lora on k_proj, o_proj, q_proj, v_proj" in done.stderr
    assert "trained (" in done.stderr
    folder = tmp_path / "runs" / "deit_cifar"
    adapter = json.loads((folder / "best" / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (model.checkpoint, model.revision)
    first = json.loads((folder / "scores.json").read_text())["test"]
    elsewhere = {"HF_HOME": str(tmp_path / "elsewhere")}

    again = command("evaluate", "alice/things@main", **elsewhere)
    assert again.returncode == 0, again.stderr
    scores = json.loads(again.stdout)
    assert {name: scores[name] for name in ("loss", "accuracy", "f1")} == {
        name: first[name] for name in ("loss", "accuracy", "f1")
    }

    words = ["--split", "test", "--output", "said.parquet", "--batch-size"]
    size = str(recipe.training["per_device_eval_batch_size"])
    done = command("predict", "alice/things", f"{data.path}@{data.revision}", *words, size, **elsewhere)
    assert done.returncode == 0, done.stderr
    said = pq.read_table(tmp_path / "said.parquet").to_pylist()
    kept = pq.read_table(folder / "predictions" / "test.parquet").to_pylist()
    assert [row["row"] for row in said] == [row["row"] for row in kept]
    for one, other in zip(said, kept, strict=True):
        assert (one["prediction"], one["probability"]) == (other["prediction"], other["probability"])
        assert list(one["probabilities"].values()) == other["probabilities"]


def test_what_is_no_run_is_said(hub, command, tmp_path):
    hub.add_folder("model", "alice/plain", save_small_deit(tmp_path / "plain"))
    done = command("predict", "alice/plain", "x.png")
    assert done.returncode == 2
    assert (
        "alice/plain on the Hub is no run of hf-finetune: it has no recipe.yaml and no scores.json"
        in done.stderr
    )
    done = command("evaluate", "alice/nothing")
    assert done.returncode == 2
    assert "the Hub has no checkpoint 'alice/nothing', or it is private" in done.stderr
    done = command("evaluate", "alice/plain@v9")
    assert done.returncode == 2
    assert "has no revision 'v9'" in done.stderr
