"""Cells that are a recipe of the project: hops 2 to 6 of a run make their ingredients, data set and all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sounds.checkpoints import write_checkpoint
from speech_models import save_ctc

from engine_harness.cells import Cell
from hf_finetune.engines.ingredients import Ingredients
from hf_finetune.recipe import load_recipe
from hf_finetune.runner import prepare

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"

RECIPES: dict[str, list[str]] = {
    # whatever draws is on: SpecAugment, dropout, layer drop, crops, augmentation from other rows; and long
    # clips in windows at evaluation
    "audio-classification": [
        "data.splits={train: 'train[3:]', eval: 'validation[1:]'}",
        "data.augment=[{name: add_noise, p: 0.7}, {name: mix_clips, p: 0.5}, time_mask, speed]",
        "model.config={mask_time_prob: 0.2, mask_feature_prob: 0.2, mask_feature_length: 4, layerdrop: 0.2, "
        "hidden_dropout: 0.1, attention_dropout: 0.1}",
    ],
    # spectrograms of the evaluation rows are kept on disk, those of augmented training rows are not
    "audio-classification-whisper": [
        "task={name: audio-classification, window_seconds: 0.35}",
        f"model.checkpoint={SMOKE / 'tiny-whisper'}",
        "model.config={dropout: 0.1}",
        "data.splits={train: 'train[3:]', eval: 'validation[1:]'}",
        "data.augment=[{name: add_noise, p: 0.7}]",
    ],
    # text is written in every evaluation
    "ctc": [
        "data.splits={train: 'train[:59]', eval: 'train[70:89]'}",
        "data.augment=[{name: add_noise, p: 0.7}, time_mask]",
        "model.config={mask_time_prob: 0.3, mask_feature_prob: 0.2, mask_feature_length: 2, layerdrop: 0.2, "
        "hidden_dropout: 0.1, attention_dropout: 0.1}",
    ],
    "seq2seq": [
        "data.splits={train: 'train[:59]', eval: 'train[70:89]'}",
        "data.augment=[{name: add_noise, p: 0.7}]",
        "model.config={mask_time_prob: 0.2, mask_feature_prob: 0.2, mask_feature_length: 2, dropout: 0.1, "
        "encoder_layerdrop: 0.2, decoder_layerdrop: 0.2}",
        "training.generation_num_beams=2",
        "training.generation_max_length=12",
    ],
}
"""Name of a cell's task -> overrides of the smoke recipe."""

FILES = {"ctc": "automatic-speech-recognition-ctc", "seq2seq": "automatic-speech-recognition-seq2seq"}
"""Smoke recipes; of the others audio-classification."""

BATCH = 6
"""Rows of a round on 1, 2 or 3 processes: 17 or 10 rounds an epoch, the last one of 1 or 5 rows."""

PRETRAINED = "pretrained"

LORA_BASES = {"audio-classification": "wav2vec2", "ctc": "Wav2Vec2"}

ADAPTERS = [
    "model.peft={method: lora, r: 4, lora_dropout: 0.1, target_modules: [q_proj, v_proj]}",
    "model.from_scratch=false",
]


def write_pretrained(cell: Cell, root: Path) -> None:
    """Write what the adapters of a cell are put on; for one process, before the others go on."""
    if cell.lora and cell.task in RECIPES and not (root / PRETRAINED).exists():
        write = save_ctc if cell.task == "ctc" else write_checkpoint
        write(root / PRETRAINED, LORA_BASES[cell.task])


def build_from_recipe(cell: Cell, folder: Path, defaults: dict[str, Any], **overrides: Any) -> Ingredients:
    """Return fresh ingredients of such a cell; `defaults` and `overrides` are of TrainingArguments."""
    training = {
        **defaults,
        "gradient_accumulation_steps": 1,
        "max_steps": -1,
        "per_device_train_batch_size": BATCH // int(os.environ.get("WORLD_SIZE", "1")),
        **cell.args,
        **overrides,
        "output_dir": str(folder),
    }
    words = list(RECIPES[cell.task])
    if cell.lora:
        words += [*ADAPTERS, f"model.checkpoint={folder.parent / PRETRAINED}"]
    words += [f"training.{name}={json.dumps(value)}" for name, value in training.items()]
    return prepare(load_recipe(SMOKE / f"{FILES.get(cell.task, 'audio-classification')}.yaml", words)).parts
