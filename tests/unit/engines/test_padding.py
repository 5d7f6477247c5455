"""The share of padding, by hand and as the batches really are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from hf_finetune.engines.loaders import build_train_loader
from hf_finetune.engines.padding import measure_padding


class Rows(torch.utils.data.Dataset):
    def __init__(self, lengths, full_length=None):
        self.lengths, self.full_length = lengths, full_length

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, index):
        return {"input_values": torch.ones(self.lengths[index]), "labels": torch.tensor(0)}


def parts_of(rows, tmp_path, strategy="random", batch_size=2):
    args = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        train_sampling_strategy=strategy,
        per_device_train_batch_size=batch_size,
    )

    def collate(rows):
        values = [row["input_values"] for row in rows]
        return {
            "input_values": torch.nn.utils.rnn.pad_sequence(values, batch_first=True),
            "labels": torch.zeros(len(rows)),
        }

    return SimpleNamespace(train_dataset=rows, args=args, collate=collate, model=None), args


def test_two_rows(tmp_path):
    assert measure_padding(*parts_of(Rows([1, 3]), tmp_path)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("strategy", ["random", "group_by_length", "sequential"])
def test_it_is_what_the_loader_makes(tmp_path, strategy):
    rows = Rows(np.random.default_rng(0).integers(1, 100, 43).tolist())
    parts, args = parts_of(rows, tmp_path, strategy, batch_size=5)
    batches = [batch["input_values"] for batch in build_train_loader(parts, args)]
    padded = sum(int((batch == 0).sum()) for batch in batches) / sum(batch.numel() for batch in batches)
    assert measure_padding(parts, args) == pytest.approx(padded)


def test_rows_of_one_length_together_have_less(tmp_path):
    rows = Rows(np.random.default_rng(0).integers(1, 100, 400).tolist())
    shares = [measure_padding(*parts_of(rows, tmp_path, s, 5)) for s in ("random", "group_by_length")]
    assert shares[1] < 0.3 * shares[0]


def test_inputs_of_one_length_are_padded_to_it(tmp_path):
    assert measure_padding(*parts_of(Rows([10, 30, 50], 40), tmp_path)) == pytest.approx(1 - 80 / 120)


def test_rows_without_lengths_have_none(tmp_path):
    parts, args = parts_of([{"x": 1}], tmp_path)
    assert measure_padding(parts, args) is None
