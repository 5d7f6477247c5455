"""Adapters by every method: a new head is trained and kept, and the model comes back as it was."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

import peft
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import (
    AutoImageProcessor,
    BertConfig,
    BertForSequenceClassification,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    DeiTImageProcessorPil,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperForAudioClassification,
    pipeline,
    set_seed,
)

from hf_finetune.errors import ModelError
from hf_finetune.model import build_model, describe_share, load_model, save_model
from hf_finetune.recipe import Recipe
from hf_finetune.tasks import TASKS, LabelSpace

SPACE = LabelSpace(problem_type="single_label_classification", names=("cat", "dog", "owl"), num_labels=3)
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
MERGE_ATOL = 1e-5
"""Adding an update into float32 weights rounds once more. Logits of about 1 moved by 2e-6 at most in 800
draws of the input, and once, in another, by 12e-6: so the inputs here are always the same."""


class Texts(TASKS.get("image-classification")):  # type: ignore[misc]
    """Classify texts, as a task of the user's own would."""

    name = "text-classification"
    auto_model = "AutoModelForSequenceClassification"


class Sounds(TASKS.get("image-classification")):  # type: ignore[misc]
    name = "audio-classification"
    auto_model = "AutoModelForAudioClassification"


def deit(num_labels: int = 7) -> PreTrainedModel:
    return DeiTForImageClassification(
        DeiTConfig(image_size=8, patch_size=4, num_labels=num_labels, hidden_dropout_prob=0.0, **SMALL)
    )


def distilled() -> PreTrainedModel:
    return DeiTForImageClassificationWithTeacher(
        DeiTConfig(image_size=8, patch_size=4, num_labels=7, architectures=["DeiT"], **SMALL)
    )


def bert() -> PreTrainedModel:
    return BertForSequenceClassification(
        BertConfig(vocab_size=30, max_position_embeddings=64, num_labels=7, **SMALL)
    )


def wav2vec2() -> PreTrainedModel:
    convolutions = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8)}
    config = Wav2Vec2Config(
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        mask_time_prob=0.0,
        classifier_proj_size=12,
        num_labels=7,
        **SMALL,
        **convolutions,
    )
    return Wav2Vec2ForSequenceClassification(config).wav2vec2  # pre-trained: it has no head at all


def whisper() -> PreTrainedModel:
    return WhisperForAudioClassification(
        WhisperConfig(
            d_model=16,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_mel_bins=8,
            max_source_positions=20,
            vocab_size=30,
            classifier_proj_size=12,
            num_labels=7,
        )
    )


draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
IMAGES, SOUNDS, TEXTS = TASKS.get("image-classification"), Sounds, Texts
FAMILIES = {
    # task, model, an input, the modules that are new for other classes
    "deit": (IMAGES, deit, {"pixel_values": draw(3, 3, 8, 8)}, {"classifier"}),
    "deit-distilled": (
        IMAGES,
        distilled,
        {"pixel_values": draw(3, 3, 8, 8)},
        {"cls_classifier", "distillation_classifier"},
    ),
    "bert": (TEXTS, bert, {"input_ids": torch.arange(1, 22).reshape(3, 7)}, {"classifier"}),
    "wav2vec2": (SOUNDS, wav2vec2, {"input_values": draw(3, 400)}, {"projector", "classifier"}),
    "whisper": (SOUNDS, whisper, {"input_features": draw(3, 8, 40)}, {"classifier"}),
}


def write_base(folder: Path, make) -> Path:
    set_seed(0)
    make().save_pretrained(folder / "base")
    return folder / "base"


def build(folder: Path, task_class=IMAGES, **options):
    recipe = Recipe(
        task="image-classification", model={"checkpoint": str(folder), "peft": options}, data={"path": "p"}
    )
    task = task_class(recipe.task)
    set_seed(1)
    return recipe, task, build_model(recipe, task, SPACE)


def train(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Make two updates, and return the logits."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs).logits.square().sum().backward()
        optimizer.step()
    model.eval()
    return model(**inputs).logits.detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_head_is_trained_kept_and_merged(family, tmp_path):
    task_class, make, inputs, heads = FAMILIES[family]
    base = write_base(tmp_path, make)
    recipe, task, model = build(base, task_class, method="lora", r=4)
    assert set(model.active_peft_config.modules_to_save) - {"score"} == heads, "PEFT adds score for texts"
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    logits = train(model, inputs)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved <= trained
    assert {name for name in trained if "modules_to_save" in name} <= moved
    assert {name for name in trained if "lora_B" in name} <= moved
    save_model(model, tmp_path / "best")
    set_seed(7)  # a head that was not kept would be another one now
    again = load_model(tmp_path / "best", recipe, task, SPACE).eval()
    assert torch.equal(again(**inputs).logits, logits)
    save_model(model, tmp_path / "merged", merge=True)
    whole = load_model(tmp_path / "merged", recipe, task, SPACE).eval()
    assert not isinstance(whole, peft.PeftModel)
    torch.testing.assert_close(whole(**inputs).logits, logits, atol=MERGE_ATOL, rtol=0)
    assert torch.equal(model(**inputs).logits, logits), "merging changed the model that was given"


METHODS = {
    "dora": {"method": "lora", "use_dora": True, "r": 4},
    "rslora": {"method": "lora", "use_rslora": True, "r": 4},
    "pissa": {"method": "lora", "init_lora_weights": "pissa", "r": 4},
    "all-linear": {"method": "lora", "target_modules": "all-linear"},
    "adalora": {"method": "adalora"},
    "ia3": {"method": "ia3"},
    "loha": {"method": "loha"},
    "lokr": {"method": "lokr"},
    "oft": {"method": "oft", "oft_block_size": 8},
    "vera": {"method": "vera", "r": 8},
    "randlora": {"method": "randlora", "r": 4},
    "fourierft": {"method": "fourierft", "n_frequency": 50},
    "hra": {"method": "hra", "r": 4},
    "miss": {"method": "miss", "r": 4},
    "road": {"method": "road", "group_size": 4},
    "c3a": {"method": "c3a", "block_size": 4},
    "delora": {"method": "delora", "r": 4},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_and_comes_back(method, tmp_path):
    _, _, inputs, _ = FAMILIES["deit"]
    recipe, task, model = build(write_base(tmp_path, deit), **METHODS[method])
    logits = train(model, inputs)
    save_model(model, tmp_path / "best")
    set_seed(7)
    assert torch.equal(load_model(tmp_path / "best", recipe, task, SPACE).eval()(**inputs).logits, logits)
    save_model(model, tmp_path / "merged", merge=True)
    whole = load_model(tmp_path / "merged", recipe, task, SPACE).eval()
    torch.testing.assert_close(whole(**inputs).logits, logits, atol=MERGE_ATOL, rtol=0)


@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning", "p_tuning"])
def test_prompts_are_learned_for_texts_and_refused_for_others(method, tmp_path):
    _, _, inputs, _ = FAMILIES["bert"]
    recipe, task, model = build(write_base(tmp_path, bert), TEXTS, method=method, num_virtual_tokens=4)
    inputs = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    logits = train(model, inputs)
    save_model(model, tmp_path / "best")
    set_seed(7)
    assert torch.equal(load_model(tmp_path / "best", recipe, task, SPACE).eval()(**inputs).logits, logits)
    with pytest.raises(
        ModelError, match=rf"{method} learns tokens .* image-classification has none.*such as lora"
    ):
        build(write_base(tmp_path / "other", deit), method=method, num_virtual_tokens=4)
    with pytest.raises(ModelError, match="changes no weights"):
        build(tmp_path / "base", TEXTS, method=method, num_virtual_tokens=4, merge=True)


def test_targets_are_found_and_said_or_named_in_the_message(tmp_path, caplog):
    base = write_base(tmp_path, deit)
    with caplog.at_level(logging.INFO, logger="hf_finetune"):
        _, _, model = build(base, method="lora")
    adapted = {
        n.partition(".lora_A")[0].rpartition(".")[2] for n, _ in model.named_parameters() if "lora_A" in n
    }
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert "model.peft: lora on k_proj, o_proj, q_proj, v_proj" in caplog.text
    assert "the adapters belong to the folder" in caplog.text
    with pytest.raises(ModelError, match=r"'q_prj' matches no module .* Did you mean 'q_proj'\? .*fc1 \(2\)"):
        build(base, method="lora", target_modules=["v_proj", "q_prj"])
    with pytest.raises(ModelError, match=r"modules_to_save: 'head' matches no module"):
        build(base, method="lora", modules_to_save=["head"])
    with pytest.raises(ModelError, match=r"'\.\*query' matches no module"):
        build(base, method="lora", target_modules=".*query")
    with pytest.raises(ModelError, match="is not a regular expression"):
        build(base, method="lora", target_modules="(")
    _, _, bert_model = build(write_base(tmp_path / "text", bert), TEXTS, method="lora")
    assert set(bert_model.active_peft_config.target_modules) == {"query", "value"}, "PEFT's own table"


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"rank_pattern": {"q_proj": 4, "nope": 4}}, "rank_pattern: 'nope' fits nothing that has adapters"),
        ({"alpha_pattern": {".*[02].*": 4, "fc1": 4}}, "alpha_pattern: 'fc1' fits nothing"),
        ({"layers_to_transform": [0, 9]}, "layers_to_transform: 9 fits nothing that has adapters"),
        ({"layers_to_transform": [9]}, "lora: No modules were targeted"),
        ({"target_parameters": ["q_proj.weigth"]}, "target_parameters: 'q_proj.weigth' fits nothing"),
        ({"rank_pattern": {"(": 4}}, "lora: missing .*, unterminated subpattern"),
    ],
)
def test_an_option_that_is_about_no_layer_is_named(options, key, tmp_path):
    with pytest.raises(ModelError, match=key):
        build(write_base(tmp_path, deit), method="lora", **options)


def test_options_about_single_layers_that_fit_are_taken(tmp_path):
    options = {"layers_to_transform": [1], "rank_pattern": {"q_proj": 2}, "alpha_pattern": {".*v_proj": 4}}
    _, _, model = build(write_base(tmp_path, deit), method="lora", r=3, **options)
    ranks = {name: p.shape[0] for name, p in model.named_parameters() if "lora_A" in name}
    assert sorted(ranks.values()) == [2, 3, 3, 3]
    assert all(".1." in name for name in ranks)


def test_what_a_method_cannot_do_is_said(tmp_path):
    base = write_base(tmp_path, deit)
    with pytest.raises(ModelError, match=r"adaption_prompt keeps no whole layers, and classifier is new"):
        build(base, method="adaption_prompt", adapter_len=4, adapter_layers=1)
    with pytest.raises(ModelError, match="poly wants the number of a task"):
        build(base, method="poly")
    with pytest.raises(ModelError, match=r"model.peft: fourierft: .*n_frequency"):
        build(base, method="fourierft", n_frequency=100_000)
    with pytest.raises(ModelError, match=r"ln_tuning cannot be merged. Leave model.peft.merge out"):
        build(base, method="ln_tuning", merge=True)
    with pytest.raises(ModelError, match=r"Conv2d|not supported"):
        build(base, method="lokr", target_modules=["layernorm_before"])


def test_adapters_name_their_base_and_load_by_peft_and_by_pipeline(tmp_path):
    base = write_base(tmp_path, deit)
    _, _, model = build(base, method="lora")
    best, picture = tmp_path / "best", Image.new("RGB", (8, 8), (200, 30, 40))
    train(model, {"pixel_values": torch.randn(3, 3, 8, 8)})
    save_model(model, best)
    DeiTImageProcessorPil(size={"height": 8, "width": 8}, do_center_crop=False).save_pretrained(best)
    config = json.loads((best / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base.resolve())
    classes = {"num_labels": 3, "ignore_mismatched_sizes": True}
    inputs = AutoImageProcessor.from_pretrained(best, backend="pil")(picture, return_tensors="pt")
    wanted = model(**inputs).logits
    loaded = peft.AutoPeftModel.from_pretrained(best, **classes).eval()
    assert torch.equal(loaded(**inputs).logits, wanted)
    names = {"id2label": dict(enumerate(SPACE.names)), "label2id": SPACE.label2id}
    pipe = pipeline(
        "image-classification",
        model=str(best),
        image_processor=str(best),
        model_kwargs={**classes, **names},
    )
    probabilities = dict(zip(SPACE.names, wanted.softmax(-1)[0].tolist(), strict=True))
    assert {answer["label"]: answer["score"] for answer in pipe(picture)} == pytest.approx(probabilities)


def test_the_share_is_said(tmp_path):
    _, _, model = build(write_base(tmp_path, deit), method="lora", r=1)
    num_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert num_trained == 2 * 4 * (16 + 16) + 3 * 17
    assert f"{num_trained} trained (" in describe_share(model)
