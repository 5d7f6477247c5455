"""The tasks: one file each, registered when this package is imported."""

from hf_finetune.tasks import image_classification
from hf_finetune.tasks.base import TASKS, LabelSpace, Task

__all__ = ["TASKS", "LabelSpace", "Task", "image_classification"]
