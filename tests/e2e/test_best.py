"""The best model is the best: on the disk, in the scores, read back by plain transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from hf_finetune import evaluate, load_recipe, run
from hf_finetune.runner import prepare

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "image-classification.yaml"


@pytest.fixture(scope="module", params=["trainer", "accelerate"])
def finished(request, tmp_path_factory):
    """Run with a rate that gets worse after a while, so that the best model is not the last."""
    folder = tmp_path_factory.mktemp("run")
    words = [
        f"engine={request.param}",
        f"training.output_dir={folder}",
        "training.max_steps=12",
        "training.learning_rate=0.05",
        "training.eval_strategy=steps",
        "training.eval_steps=2",
        "training.load_best_model_at_end=true",
    ]
    return run(load_recipe(SMOKE, words))


def test_the_score_of_best_is_the_recorded_best_to_the_last_digit(finished):
    best = finished.scores["best"]
    logged = {e["step"]: e["eval_accuracy"] for e in finished.state.log_history if "eval_accuracy" in e}
    assert best["value"] == max(logged.values()) == logged[best["step"]]
    assert finished.scores["eval"][best["metric"]] == best["value"]
    assert best["step"] < 12, "the last model is the best one: this run shows nothing"


def test_every_weight_of_best_is_that_of_its_checkpoint(finished):
    folder = finished.folder
    step = finished.scores["best"]["step"]
    plain = AutoModelForImageClassification.from_pretrained(folder.best).state_dict()
    saved = load_file(folder.path / f"checkpoint-{step}" / "model.safetensors")
    assert set(saved) == set(plain)
    assert all(torch.equal(saved[name], plain[name]) for name in plain)


def test_a_plain_pipeline_takes_it(finished):
    folder = finished.folder
    classify = pipeline(
        "image-classification",
        model=str(folder.best),
        image_processor=AutoImageProcessor.from_pretrained(folder.best, backend="pil"),
    )
    test = prepare(load_recipe(folder.recipe)).splits
    row = test.raw("test")[0]
    said = classify(Image.fromarray(row["image"]))[0]["label"]
    assert said in test.labels.names


def test_evaluate_gives_the_scores_again(finished):
    again = evaluate(finished.folder.path, split="test")
    scores = json.loads(finished.folder.scores.read_text())["test"]
    for name in ("loss", "accuracy", "f1"):
        assert again[name] == scores[name]
