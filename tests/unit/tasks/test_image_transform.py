"""The shortcut gives what the processor gives; where it would not, the processor is called."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_finetune.tasks.image_transform import ImageTransform
from hf_finetune.tasks.resize import Geometry, resize_and_crop

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def make_images(num: int) -> list[np.ndarray]:
    """Make noise and smooth pictures of all sizes."""
    rng = np.random.default_rng(1)
    images = []
    for i in range(num):
        height, width = rng.integers(8, 70 if i % 3 else 400, 2)
        if i % 2:
            images.append(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        else:
            few = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            images.append(np.asarray(few.resize((width, height), Image.Resampling.BICUBIC)))
    return images


FAST = {
    "DeiT, 256 then 224": DeiTImageProcessorPil(**IMAGENET),
    "ViT": ViTImageProcessorPil(),
    "ViT of 16": ViTImageProcessorPil(size={"height": 16, "width": 16}),
    "CLIP, shorter edge": CLIPImageProcessorPil(),
    "not square": ViTImageProcessorPil(size={"height": 40, "width": 90}),
    "28 to 224": ViTImageProcessorPil(resample=3),
    "not normalised": ViTImageProcessorPil(do_normalize=False),
    "-1 to 1": ViTImageProcessorPil(do_normalize=False, rescale_factor=1 / 127.5),
}
SLOW = {
    "ConvNeXT, crop_pct": ConvNextImageProcessorPil(size={"shortest_edge": 224}),
    "Vilt, pads": ViltImageProcessorPil(),
    "nearest": ViTImageProcessorPil(resample=0),
    "Lanczos": ViTImageProcessorPil(resample=1),
    "as they are": ViTImageProcessorPil(do_resize=False),
    "crop beyond": CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 64, "width": 64}),
}


@pytest.mark.parametrize("name", FAST)
def test_equal_to_the_processor(name):
    processor, images = FAST[name], make_images(15)
    transform = ImageTransform(processor)
    assert transform.is_fast
    ours = transform([{"image": image} for image in images])["pixel_values"]
    theirs = processor([Image.fromarray(image) for image in images], return_tensors="pt")["pixel_values"]
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", SLOW)
def test_otherwise_the_processor_is_called(name):
    processor = SLOW[name]
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(3)]
    transform = ImageTransform(processor)
    assert not transform.is_fast
    ours = transform([{"image": image} for image in images])
    theirs = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    assert set(ours) <= set(processor.model_input_names)
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])


def test_a_processor_with_a_mind_of_its_own_is_found_out():
    class Inverting(ViTImageProcessorPil):
        def rescale(self, image, scale, **kwargs):
            return super().rescale(255 - image, scale, **kwargs)

    assert not ImageTransform(Inverting()).is_fast


def test_samples_are_compared_too():
    class MindsBrightness(ViTImageProcessorPil):
        def rescale(self, image, scale, **kwargs):
            return super().rescale(image, scale, **kwargs) * (0.5 if image.min() > 200 else 1)

    bright = {"image": np.full((32, 32, 3), 250, np.uint8)}
    assert ImageTransform(MindsBrightness()).is_fast
    assert not ImageTransform(MindsBrightness(), [bright]).is_fast


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("shape", [(32, 32), (64, 17), (5, 50), (1, 1), (60, 60)])
@pytest.mark.parametrize("size", [(224, 224), (16, 48), (33, 31)])
def test_small_images_are_resized_as_by_pil(resample, shape, size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    out = torch.empty(3, *size)
    resize_and_crop(image, Geometry(resample=resample, size=size, crop=None), out)
    theirs = np.asarray(Image.fromarray(image).resize(size[::-1], resample)).transpose(2, 0, 1)
    assert (out.numpy() == theirs).all()


@pytest.mark.parametrize("name", ["DeiT, 256 then 224", "ConvNeXT, crop_pct"])
def test_settings_survive_saving(name, tmp_path):
    processor = (FAST | SLOW)[name]
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    again = type(processor).from_pretrained(tmp_path)
    assert saved["image_processor_type"] + "Pil" == type(processor).__name__
    assert ImageTransform(again).is_fast == (name in FAST)
