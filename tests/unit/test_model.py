"""Which layers of a checkpoint are kept, which are made new, and that it is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from transformers import DeiTConfig, DeiTForImageClassification, set_seed

from hf_finetune.errors import UserError
from hf_finetune.model import build_model
from hf_finetune.recipe import Recipe, load_recipe
from hf_finetune.runner import check
from hf_finetune.tasks import TASKS, LabelSpace

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke" / "image-classification.yaml"
ANIMALS = ("cat", "dog", "owl")


def build(folder: Path, names: tuple[str, ...]):
    recipe = Recipe(task="image-classification", model={"checkpoint": str(folder)}, data={"path": "p"})
    space = LabelSpace(problem_type="single_label_classification", names=names, num_labels=len(names))
    set_seed(1)
    return build_model(recipe, TASKS.get("image-classification")(recipe.task), space)


def save(folder: Path, names: tuple[str, ...] | None) -> DeiTForImageClassification:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"num_labels": 3} if names is None else {"id2label": dict(enumerate(names))}
    set_seed(0)
    model = DeiTForImageClassification(DeiTConfig(image_size=8, patch_size=4, **sizes, **labels))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("had", "wanted", "is_kept"),
    [
        (ANIMALS, ANIMALS, True),
        (None, ANIMALS, True),  # LABEL_0 ...: a head without names may well be for these classes
        (("T-shirt", "coat", "bag"), ANIMALS, False),
        (("dog", "cat", "owl"), ANIMALS, False),
        (("cat", "dog", "owl", "hen"), ANIMALS, False),
    ],
)
def test_a_head_for_other_classes_is_made_new_and_named(had, wanted, is_kept, tmp_path, caplog):
    saved = save(tmp_path, had)
    with caplog.at_level(logging.INFO, logger="hf_finetune"):
        model = build(tmp_path, wanted)
    assert tuple(model.config.id2label.values()) == wanted
    same = saved.classifier.weight.shape == model.classifier.weight.shape and torch.equal(
        saved.classifier.weight, model.classifier.weight
    )
    assert same == is_kept
    assert ("new layer classifier.weight" in caplog.text) != is_kept
    body = {name: tensor for name, tensor in saved.state_dict().items() if name.startswith("deit.")}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in body.items())


def test_what_an_engine_does_not_do_is_said_at_check_time(tmp_path):
    words = ["training.neftune_noise_alpha=5.0", f"training.output_dir={tmp_path}"]
    with pytest.raises(UserError, match=r"neftune_noise_alpha = 5.0 is not done by engine: accelerate"):
        check(load_recipe(SMOKE, ["engine=accelerate", *words]))
