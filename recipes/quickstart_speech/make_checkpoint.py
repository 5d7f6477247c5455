"""Pre-train the demonstration checkpoint: a small wav2vec2 on spoken letters and digits.

    python recipes/quickstart_speech/make_checkpoint.py             # writes checkpoint/ beside this file
    python recipes/quickstart_speech/make_checkpoint.py --output X  # writes it somewhere else, to compare

It hears espeak-ng (Debian's package) say the names of 26 letters and 10 digits in the voices of the training
split, and learns which it was. Nothing else is learnt from: none of the words of the recipes, no other voice.
"""

from __future__ import annotations

import os

# read when torch is loaded: which instructions a sum is computed with decides its last bits
os.environ.update(
    ATEN_CPU_CAPABILITY="default", MKL_CBWR="COMPATIBLE", ONEDNN_MAX_CPU_ISA="SSE41", OMP_NUM_THREADS="1"
)

import argparse
import hashlib
import string
import time
from pathlib import Path

import numpy as np
import soxr
import torch
from speak import RATE, VOICES, draw_utterances, speak_all
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

# B clips of a batch, N samples
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NAMES = [*string.ascii_lowercase, *DIGITS]
TELEPHONE_RATE = 8_000  # Hz; the shipped clips have no more
NUM_TIMES = {"train": 3, "validation": 2}
"""How often each voice says each name."""
SEED, NUM_EPOCHS, BATCH_SIZE, LEARNING_RATE = 0, 16, 32, 2e-3

Split = tuple[list[np.ndarray], torch.Tensor]
"""Clips, float32 [N] each, and labels."""


def main() -> None:
    """Speak, train, evaluate, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "checkpoint")
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_split, validation = (speak_names(split) for split in ("train", "validation"))
    started = time.process_time()
    model = build_model(NAMES, seed=SEED)
    num_updates = NUM_EPOCHS * -(-len(train_split[1]) // BATCH_SIZE)
    train(model, train_split, num_updates=num_updates, seed=SEED)
    print(f"{num_updates} updates in {time.process_time() - started:.0f} CPU s")
    print(f"accuracy on letters and digits in voices never heard: {accuracy(model, validation):.4f}")
    model.save_pretrained(options.output)
    build_extractor().save_pretrained(options.output)
    weights = options.output / "model.safetensors"
    print(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights}")


def speak_names(split: str) -> Split:
    """Return all names in all voices of a split, in the band of a telephone."""
    voices = VOICES[split]
    texts = [name for name in NAMES for _ in range(NUM_TIMES[split]) for _ in voices]
    utterances = draw_utterances(texts, voices, seed=len(texts))
    clips = [soxr.resample(wave, TELEPHONE_RATE, RATE) for wave in speak_all(utterances, rate=TELEPHONE_RATE)]
    return clips, torch.tensor([NAMES.index(text) for text in texts])


def build_extractor() -> Wav2Vec2FeatureExtractor:
    """Return what brings each clip to mean 0 and variance 1."""
    return Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=True, return_attention_mask=True)


def build_model(names: list[str], *, seed: int) -> Wav2Vec2ForSequenceClassification:
    """Return a wav2vec2 of 336k parameters with random weights."""
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        conv_dim=[64] * 7,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        classifier_proj_size=96,
        # a model this small and this little trained has nothing to forget
        hidden_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.0,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    return Wav2Vec2ForSequenceClassification(config)


def train(model: nn.Module, split: Split, *, num_updates: int, seed: int) -> None:
    """Train with AdamW and a one-cycle schedule, epoch after epoch until the updates are done."""
    clips, labels = split
    # fused: the other variants take their square roots from MKL, which differ between processors
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, num_updates, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    extractor = build_extractor()
    model.train()
    rows: list[torch.Tensor] = []
    for update in range(num_updates):
        rows = rows or list(torch.randperm(len(clips), generator=generator).split(BATCH_SIZE))
        batch = rows.pop(0)
        loss = nn.functional.cross_entropy(
            model(**_extract(extractor, [clips[row] for row in batch])).logits, labels[batch]
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if update % 100 == 0:
            print(f"update {update}: loss {loss.item():.3f}", flush=True)


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Return the share of clips whose class is predicted right."""
    model.eval()
    extractor = build_extractor()
    clips, labels = split
    hits = [
        model(**_extract(extractor, [clips[row] for row in rows])).logits.argmax(-1) == labels[rows]
        for rows in torch.arange(len(clips)).split(100)
    ]
    return float(torch.cat(hits).float().mean())


def _extract(extractor: Wav2Vec2FeatureExtractor, clips: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """Return "input_values" [B, N] and "attention_mask" [B, N]."""
    return extractor(clips, sampling_rate=RATE, padding=True, return_tensors="pt")


if __name__ == "__main__":
    main()
