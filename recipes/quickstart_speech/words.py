"""Ten spoken commands by espeak-ng, made once: about 1,900 clips in half a minute. See speak.py.

A recipe imports this file, which writes the folder, and names `FOLDER` as its `data.path`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from speak import MORE_VOICES, VOICES, Utterance, draw_utterances, write_folder

FOLDER = Path("~/.cache/hf-finetune/espeak-words-v2")
"""A new name whenever what is written changes: what is there is taken as it is."""

WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
SPEAKERS = {**VOICES, "train": VOICES["train"] + MORE_VOICES}
NUM_TIMES = {"train": 3, "validation": 3, "test": 5}
"""How often each voice says each word: 1,500, 120 and 300 clips."""


def plan_splits() -> dict[str, list[Utterance]]:
    """Return what is said in each split."""
    splits = {}
    for seed, (split, times) in enumerate(NUM_TIMES.items()):
        voices = SPEAKERS[split]
        texts = [word for word in WORDS for _ in range(times) for _ in voices]
        splits[split] = draw_utterances(texts, voices, seed=seed)
    return splits


write_folder(FOLDER.expanduser(), plan_splits())
