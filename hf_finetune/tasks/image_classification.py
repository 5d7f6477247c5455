"""Classify images: one class each, several, or numbers (regression)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from hf_finetune.errors import ModelError
from hf_finetune.formatting import first_words
from hf_finetune.hub_access import reading_hub
from hf_finetune.tasks.base import TASKS
from hf_finetune.tasks.classification import ClassificationTask, rank_label
from hf_finetune.tasks.image_transform import ImageTransform
from hf_finetune.tasks.images import build_image_preparation, rank_image
from hf_finetune.tasks.values import Preparation, Role, Row, Transform

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["ImageClassification"]


@TASKS.register("image-classification")
class ImageClassification(ClassificationTask):
    """Images in, classes or numbers out.

    A decoded row is `{"image": uint8 [H, W, 3]}`; the checkpoint's own processor says what becomes of it.
    """

    name = "image-classification"
    modality = "image"
    auto_model = "AutoModelForImageClassification"
    roles = (
        Role(name="image", what="the image", rank=rank_image),
        Role(name="label", what="the label", rank=rank_label),
    )

    def load_processor(self, recipe: Recipe, *, trust_remote_code: bool = False) -> Any:
        """Load the checkpoint's image processor at its revision.

        It is always the PIL one, where the checkpoint has one: the same pixels on machines with and without
        torchvision, whose resize differs.
        """
        from transformers import AutoImageProcessor

        checkpoint, revision = recipe.model.checkpoint, recipe.model.revision
        where = recipe.where("model.checkpoint")
        try:
            with reading_hub("model", checkpoint, revision=revision, where=where):
                return AutoImageProcessor.from_pretrained(
                    checkpoint, revision=revision, backend="pil", trust_remote_code=trust_remote_code
                )
        except (ValueError, OSError) as error:
            raise ModelError(
                f"{checkpoint} has no image processor: {first_words(error)}",
                where=where,
                todo="Name a checkpoint for images.",
            ) from error

    def build_preparation(self, feature: Any, folders: Sequence[str], *, processor: Any) -> Preparation:
        """Decode and check every image once; keep the pixels of small ones."""
        return build_image_preparation(folders)

    def build_transform(self, processor: Any, samples: Sequence[Row] = ()) -> Transform:
        """Return what turns decoded rows into `pixel_values` [B, 3, H, W]."""
        return ImageTransform(processor, samples)

    def thumbnail(self, row: Row) -> Image.Image:
        """Return the image as it was before augmentation and processing."""
        return Image.fromarray(row["image"])
