"""The tasks: one file each, registered when this package is imported."""

from hf_finetune.tasks import audio_classification, image_classification, speech_recognition
from hf_finetune.tasks.base import TASKS, Task
from hf_finetune.tasks.build import build_task
from hf_finetune.tasks.labels import LabelSpace
from hf_finetune.tasks.values import Space

__all__ = [
    "TASKS",
    "LabelSpace",
    "Space",
    "Task",
    "audio_classification",
    "build_task",
    "image_classification",
    "speech_recognition",
]
