"""The first task: registered by name, loads its processor, reduces logits."""

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil

from hf_finetune.errors import ModelError
from hf_finetune.recipe import Recipe
from hf_finetune.tasks import LabelSpace, build_task


@pytest.fixture
def task():
    return build_task(recipe_with("x"))


def space(problem_type):
    return LabelSpace(problem_type=problem_type, names=("a", "b"), num_labels=2)


def recipe_with(checkpoint):
    return Recipe(task="image-classification", model={"checkpoint": str(checkpoint)}, data={"path": "x"})


def test_the_processor_is_the_pil_one_and_comes_without_a_word(task, tmp_path, caplog):
    DeiTImageProcessorPil(crop_size={"height": 96, "width": 96}).save_pretrained(tmp_path)
    processor = task.load_processor(recipe_with(tmp_path))
    assert isinstance(processor, DeiTImageProcessorPil)
    assert processor.crop_size.height == 96
    assert not caplog.records


def test_a_checkpoint_without_processor(task, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"has no image processor: .*Name a checkpoint for images"):
        task.load_processor(recipe_with(tmp_path))


@pytest.mark.parametrize("num_labels", [2, 5])
def test_one_label(task, num_labels):
    logits = torch.randn(4, num_labels)
    reduced = task.build_reduce(space("single_label_classification"))(
        None, {}, ImageClassifierOutput(logits=logits)
    )
    assert torch.equal(reduced["prediction"], logits.argmax(1))
    assert torch.allclose(reduced["probabilities"].sum(1), torch.ones(4))


def test_several_labels(task):
    logits = torch.tensor([[0.1, -0.1], [-3.0, 0.0]], dtype=torch.bfloat16)
    reduced = task.build_reduce(space("multi_label_classification"))(
        None, {}, ImageClassifierOutput(logits=logits)
    )
    assert reduced["prediction"].tolist() == [[1, 0], [0, 1]]
    assert reduced["prediction"].dtype == torch.int64
    assert reduced["probabilities"].dtype == torch.float32


@pytest.mark.parametrize(("num_targets", "shape"), [(1, (4,)), (3, (4, 3))])
def test_numbers(task, num_targets, shape):
    outputs = ImageClassifierOutput(logits=torch.randn(4, num_targets))
    assert task.build_reduce(space("regression"))(None, {}, outputs)["prediction"].shape == shape


@pytest.mark.parametrize("kind", ["single_label_classification", "multi_label_classification", "regression"])
def test_every_problem_has_metrics(task, kind):
    assert [spec.name for spec in task.default_metrics(space(kind))]


def test_thumbnail(task):
    assert task.thumbnail({"image": np.zeros((5, 7, 3), np.uint8)}).size == (7, 5)
