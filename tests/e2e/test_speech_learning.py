"""The recipes that train on made speech learn: as well as their `expected` block says, on voices never heard.

They take one to four CPU minutes each; what they have to reach is written in the recipes, and nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_finetune import load_recipe, run

RECIPES = Path(__file__).parents[2] / "recipes"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "metric", "at_least"),
    [("quickstart_speech", "accuracy", 0.85), ("espeak_keywords", "accuracy", 0.98)],
)
def test_words_are_told_apart(name, metric, at_least, request, tmp_path):
    if name != "quickstart_speech":  # its clips are shipped
        request.getfixturevalue("espeak")
    recipe = load_recipe(RECIPES / f"{name}.yaml", [f"training.output_dir={tmp_path / 'run'}"])
    scores = run(recipe).scores["test"]
    expected, tolerance = recipe.expected[f"test_{metric}"], recipe.expected["tolerance"]
    assert expected - tolerance >= at_least, "the recipe promises too little"
    assert scores[metric] >= expected - tolerance


@pytest.mark.parametrize("name", ["espeak_sentences_ctc", "espeak_sentences_seq2seq"])
def test_sentences_never_heard_are_written_down(name, espeak, tmp_path):
    recipe = load_recipe(RECIPES / f"{name}.yaml", [f"training.output_dir={tmp_path / 'run'}"])
    scores = run(recipe).scores["test"]
    assert recipe.expected["test_wer"] + recipe.expected["tolerance"] < 0.5, "the recipe promises too little"
    assert scores["wer"] <= recipe.expected["test_wer"] + recipe.expected["tolerance"]
