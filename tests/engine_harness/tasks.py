"""Tiny tasks on which random streams, masks, dropout and ragged batches all matter.

No size is a power of two or a multiple of a batch: with those, a wrong normalisation of the loss can hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DeiTConfig,
    DeiTForImageClassification,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    set_seed,
)

VOCABULARY = 8


@dataclass(frozen=True)
class Task:
    """The ingredients a task brings: see `hf_finetune.engines.ingredients`."""

    model: nn.Module
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]]
    collate: Callable[[list[Any]], dict[str, torch.Tensor]]
    loss: Callable[..., torch.Tensor]
    reduce: Callable[..., dict[str, torch.Tensor]]
    metrics: Any
    input_name: str
    lora_targets: tuple[str, ...]
    head: str


class Rows(Dataset[Any]):
    """Rows in memory; `noise` augments from the global streams and from (epoch, row), as users do."""

    def __init__(self, rows: Sequence[dict[str, Any]], name: str, noise: float = 0.0) -> None:
        self.rows, self.name, self.noise, self.epoch = rows, name, noise, 0

    @property
    def lengths(self) -> list[int]:
        return [len(row[self.name]) for row in self.rows]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return augment(self.rows[index], self.name, self.noise, self.epoch, index)


class Stream(IterableDataset[Any]):
    """The same rows in an order that depends on the pass, without a length."""

    def __init__(self, rows: Sequence[dict[str, Any]], name: str, noise: float = 0.0) -> None:
        self.rows, self.name, self.noise, self.epoch = rows, name, noise, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Any:
        for index in np.random.default_rng(self.epoch).permutation(len(self.rows)):
            yield augment(self.rows[index], self.name, self.noise, self.epoch, int(index))


def augment(row: dict[str, Any], name: str, noise: float, epoch: int, index: int) -> dict[str, Any]:
    value = row[name]
    if not noise:
        return dict(row)
    own = np.random.default_rng((epoch, index))
    if not torch.is_floating_point(value):  # tokens: replace one, at random
        value = value.clone()
        value[int(own.integers(len(value)))] = int(torch.randint(3, 50, ()))
        return {**row, name: value}
    value = value + noise * torch.randn_like(value) + noise * float(own.standard_normal())
    return {**row, name: value + 0.1 * noise * float(np.random.rand())}


class Accuracy:
    """Fed batch by batch."""

    def __init__(self) -> None:
        self.right = self.seen = 0

    def update(self, reduced: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        self.right += int((reduced["prediction"] == labels).sum())
        self.seen += len(labels)

    def compute(self) -> dict[str, float]:
        value = self.right / self.seen
        self.right = self.seen = 0
        return {"accuracy": value, "rows": float(np.sqrt(value))}


class Frames:
    """Of what a CTC model says per frame; depends on the padding being left out."""

    def __init__(self) -> None:
        self.total = self.rows = 0

    def update(self, reduced: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
        self.total += int(np.where(reduced["prediction"] == -100, 0, reduced["prediction"] + 1).sum())
        self.rows += len(labels)

    def compute(self) -> dict[str, float]:
        value = self.total / self.rows
        self.total = self.rows = 0
        return {"accuracy": value}


def classify(outputs: Any, labels: torch.Tensor, *, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def predict(model: nn.Module, inputs: Any, outputs: Any) -> dict[str, torch.Tensor]:
    return {"prediction": outputs.logits.argmax(-1)}


def images(num_train: int = 203, num_eval: int = 77, *, hidden: int = 32) -> Task:
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels.reshape(-1, 1, 8, 8) / 16).astype(np.float32).repeat(2, 2).repeat(2, 3).repeat(3, 1)
    rows = [
        {"pixel_values": torch.from_numpy(pixels[i]), "labels": int(labels[i])}
        for i in range(num_train + num_eval)
    ]
    set_seed(0)
    config = DeiTConfig(
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        image_size=16,
        patch_size=4,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        num_labels=10,
    )

    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        return {
            "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }

    model = DeiTForImageClassification(config)
    both = rows[:num_train], rows[num_train:]
    return Task(
        model,
        both,
        collate,
        classify,
        predict,
        Accuracy(),
        "pixel_values",
        ("q_proj", "v_proj"),
        "classifier",
    )


def text(num_train: int = 153, num_eval: int = 45) -> Task:
    generator = np.random.default_rng(1)
    rows = []
    for _ in range(num_train + num_eval):
        tokens = generator.integers(3, 50, generator.integers(4, 19))
        rows.append({"input_ids": torch.tensor(tokens), "labels": int(tokens.sum() % 3)})
    set_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
            num_labels=3,
        )
    )

    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        tokens = [row["input_ids"] for row in rows]
        return {
            "input_ids": nn.utils.rnn.pad_sequence(tokens, batch_first=True),
            "attention_mask": nn.utils.rnn.pad_sequence(
                [torch.ones_like(t) for t in tokens], batch_first=True
            ),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }

    both = rows[:num_train], rows[num_train:]
    return Task(
        model, both, collate, classify, predict, Accuracy(), "input_ids", ("query", "value"), "classifier"
    )


def speech(num_train: int = 62, num_eval: int = 19) -> Task:
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(num_train + num_eval):
        spoken = generator.integers(1, VOCABULARY, generator.integers(2, 6))
        wave = np.concatenate([np.sin(np.arange(160) * 0.05 * token) for token in spoken])
        wave = wave + 0.1 * generator.standard_normal(len(wave))
        rows.append({"input_values": torch.tensor(wave, dtype=torch.float32), "labels": spoken.tolist()})
    set_seed(0)
    config = Wav2Vec2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16, 16),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        pad_token_id=0,
        mask_time_prob=0.3,
        mask_time_length=2,
        mask_feature_prob=0.2,
        mask_feature_length=2,
        layerdrop=0.2,
    )
    model = Wav2Vec2ForCTC(config)

    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        waves = [row["input_values"] for row in rows]
        labels = [torch.tensor(row["labels"]) for row in rows]
        return {
            "input_values": nn.utils.rnn.pad_sequence(waves, batch_first=True),
            "attention_mask": nn.utils.rnn.pad_sequence(
                [torch.ones(len(wave), dtype=torch.long) for wave in waves], batch_first=True
            ),
            "labels": nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
        }

    def ctc(outputs: Any, labels: torch.Tensor, *, inputs: Any, num_items_in_batch: Any) -> torch.Tensor:
        log_probs = nn.functional.log_softmax(outputs.logits, dim=-1, dtype=torch.float32).transpose(0, 1)
        frames = model._get_feat_extract_output_lengths(inputs["attention_mask"].sum(-1)).long()
        is_target = labels >= 0
        given = [log_probs, labels[is_target], frames, is_target.sum(-1)]
        if torch.are_deterministic_algorithms_enabled():  # see hf_finetune/losses/ctc.py
            given = [tensor.cpu() for tensor in given]
        total = nn.functional.ctc_loss(*given, reduction="sum", zero_infinity=True)
        return total.to(labels.device) / num_items_in_batch

    both = rows[:num_train], rows[num_train:]
    return Task(model, both, collate, ctc, predict, Frames(), "input_values", ("q_proj", "v_proj"), "lm_head")


TASKS: dict[str, Callable[[], Task]] = {"images": images, "text": text, "speech": speech}
