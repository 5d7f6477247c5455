"""Clips per second: our data path against that of transformers' audio classification example; padding.

    pip install --no-deps torchcodec==0.13.0
    python -m pytest -m bench -s tests/bench/bench_audio.py

The example decodes and resamples with torchcodec in every epoch, row by row, and calls the feature extractor
in `Dataset.set_transform`. Ours decodes once ("prepare"), keeps the clips, and makes the features of every
batch; those that are slow to make are kept, too, where nothing is augmented. Clips are 3 s of 48 kHz stereo,
models take 16 kHz. One process, one thread, in turns; the ratio is the rounds' median. Times are wall clock:
run it on an idle machine.
"""

from __future__ import annotations

import shutil
import time
from statistics import median
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import soundfile
import torch
import transformers
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from hf_finetune.data import build_datasets
from hf_finetune.engines.padding import measure_padding
from hf_finetune.recipe import Recipe
from hf_finetune.tasks import LabelSpace, build_task

BATCH, ROUNDS, RATE, SECONDS = 16, 5, 48000, 3.0
NUM = {"wav2vec2": 128, "whisper": 48, "ast": 48}
EXTRACTORS = {
    "wav2vec2": transformers.Wav2Vec2FeatureExtractor,
    "whisper": transformers.WhisperFeatureExtractor,
    "ast": transformers.ASTFeatureExtractor,
}
SPACE = LabelSpace(problem_type="single_label_classification", names=("a", "b"), num_labels=2)


def write_clips(folder, num: int, kind: str):
    """Write clips of two classes: noise under a tone, another in each channel."""
    rng = np.random.default_rng(0)
    steps = np.arange(round(SECONDS * RATE)) / RATE
    for i in range(num):
        tones = np.stack([0.3 * np.sin(2 * np.pi * rng.uniform(100, 4000) * steps) for _ in range(2)], axis=1)
        path = folder / "ab"[i % 2] / f"{i}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tones + 0.05 * rng.standard_normal(tones.shape), RATE)
    return folder


def example_loader(folder, extractor) -> DataLoader:
    """Load as examples/pytorch/audio-classification/run_audio_classification.py of transformers does."""
    files = sorted(folder.rglob("*.*"))
    rows = {"audio": [str(path) for path in files], "label": [path.parent.name == "b" for path in files]}
    data = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(sampling_rate=16000))
    name = extractor.model_input_names[0]

    def transform(batch):
        # `datasets` 4 gives a decoder of torchcodec, as the example expects
        waves = [audio["array"] for audio in batch["audio"]]
        inputs = extractor(waves, sampling_rate=extractor.sampling_rate)
        return {name: inputs[name], "labels": list(batch["label"])}

    def collate(rows):
        padded = extractor.pad([{name: row[name]} for row in rows], return_tensors="pt")
        return {**padded, "labels": torch.tensor([row["labels"] for row in rows])}

    data.set_transform(transform)
    return DataLoader(data, batch_size=BATCH, collate_fn=collate)


def measure(loader: DataLoader) -> float:
    """Return clips per second over one pass."""
    start = time.perf_counter()
    num = sum(len(batch["labels"]) for batch in loader)
    return num / (time.perf_counter() - start)


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore:At least one mel filter")  # transformers says so of AST's own defaults
@pytest.mark.parametrize("kind", ["wav", "mp3"])
@pytest.mark.parametrize("name", EXTRACTORS)
def test_clips_per_second(name, kind, tmp_path, monkeypatch):
    pytest.importorskip("torchcodec.decoders", reason="the example decodes with torchcodec")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    torch.set_num_threads(1)
    num, extractor = NUM[name], EXTRACTORS[name]()
    folder = write_clips(tmp_path / "clips", num, kind)
    # half of each class for either split, so that no clip is prepared twice
    splits = {"train": "train[:25%]+train[50%:75%]", "eval": "train[25%:50%]+train[75%:]"}
    plain, augmented = (
        Recipe(
            task="audio-classification",
            model={"checkpoint": "none/needed"},
            data={"path": str(folder), "splits": splits, "augment": augment},
        )
        for augment in ([], ["gain"])
    )
    task = build_task(plain)
    prepares, passes = [], {"train": [], "eval": []}
    theirs = example_loader(folder, extractor)
    for _ in range(ROUNDS):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        start = time.perf_counter()
        evaluated = build_datasets(plain, task, extractor, seed=42).eval
        mine = num / (time.perf_counter() - start)
        other = measure(theirs)
        prepares.append((mine, other))
        trained = build_datasets(augmented, task, extractor, seed=42).train
        for split, rows in {"train": trained, "eval": evaluated}.items():
            loader = DataLoader(rows, BATCH, collate_fn=task.build_collate(SPACE))
            passes[split].append((measure(loader), other))
    print(f"\n{name}, {kind}, 48 kHz stereo to 16 kHz features, times the example's (clips/s against its):")
    for what, pairs in {"prepare": prepares, **passes}.items():
        mine, other = (median(speeds) for speeds in zip(*pairs, strict=True))
        print(f"  {what:17} {median(a / b for a, b in pairs):7.2f}  ({mine:,.0f} against {other:,.0f})")


@pytest.mark.bench
def test_padding(tmp_path):
    """Sentences of about 5 s, from 1 to 20, as in read speech; 2,000 of them."""
    lengths = np.clip(np.random.default_rng(0).lognormal(1.5, 0.45, 2000), 1, 20) * 16000
    rows = [0] * len(lengths)

    class Rows(list):
        pass

    dataset = Rows(rows)
    dataset.lengths = lengths.astype(int).tolist()
    print("\nshare of padding, by batch: in random order, grouped by length")
    for batch_size in (4, 8, 16, 32):
        shares = []
        for strategy in ("random", "group_by_length"):
            args = TrainingArguments(
                output_dir=str(tmp_path),
                use_cpu=True,
                per_device_train_batch_size=batch_size,
                train_sampling_strategy=strategy,
            )
            parts = SimpleNamespace(train_dataset=dataset, model=None)
            shares.append(measure_padding(parts, args))
        print(f"  {batch_size:3}: {shares[0]:6.1%} {shares[1]:6.1%}")
