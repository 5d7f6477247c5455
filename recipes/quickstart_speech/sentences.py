"""Short spoken sentences by espeak-ng, made once: about a thousand clips in 20 seconds. See speak.py.

A recipe imports this file, which writes the folder, and names `FOLDER` as its `data.path`. A sentence is an
order to a machine such as "open two red boxes", put together from the lists below; none of the training split
is in another one, and neither is a voice.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))

from speak import VOICES, Utterance, draw_utterances, write_folder

FOLDER = Path("~/.cache/hf-finetune/espeak-sentences-v1")
"""A new name whenever what is written changes: what is there is taken as it is."""

PARTS = (
    ["open", "close", "move", "find", "clean"],
    ["one", "two", "three", "four", "five"],
    ["red", "green", "blue", "black"],
    ["doors", "lamps", "boxes", "cups"],
)
NUM_SENTENCES = {"train": 280, "validation": 40, "test": 80}
NUM_TIMES = {"train": 3, "validation": 1, "test": 1}
"""In how many voices a sentence is said."""


def plan_splits() -> dict[str, list[Utterance]]:
    """Return what is said in each split."""
    sentences = [" ".join(words) for words in itertools.product(*PARTS)]
    np.random.default_rng(0).shuffle(sentences)
    splits, start = {}, 0
    for seed, (split, num_sentences) in enumerate(NUM_SENTENCES.items()):
        texts = sentences[start : start + num_sentences] * NUM_TIMES[split]
        splits[split] = draw_utterances(texts, VOICES[split], seed=seed)
        start += num_sentences
    return splits


write_folder(FOLDER.expanduser(), plan_splits())
