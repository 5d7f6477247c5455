"""What comes out for a row depends on (seed, epoch, row), and on nothing else."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.models.vit import ViTConfig, ViTForImageClassification

from hf_finetune.data import check_batch_size
from hf_finetune.errors import DataError, UserError
from hf_finetune.tasks.classification import collate_rows

AUGMENT = ["horizontal_flip", {"name": "random_crop", "padding": 4}, "trivial_augment", "random_erasing"]


@pytest.fixture
def splits(image_folder, build):
    return build(image_folder, augment=AUGMENT, splits={"eval": "test", "test": "test"})


def pixels(rows, order=None, **options):
    """Return the pixels of all rows in the order of the data set, loaded in some other order."""
    order = list(range(len(rows))) if order is None else order
    loader = DataLoader(rows, sampler=order, collate_fn=collate_rows, **options)
    loaded = torch.cat([batch["pixel_values"] for batch in loader])
    return loaded[torch.tensor(order).argsort()]


def test_a_row_does_not_depend_on_its_batch_or_worker(splits):
    expected = pixels(splits.train, batch_size=16)
    backwards = list(range(15, -1, -1))
    torch.manual_seed(123)
    assert torch.equal(pixels(splits.train, backwards, batch_size=5), expected)
    assert torch.equal(pixels(splits.train, backwards, batch_size=3, num_workers=2), expected)
    assert torch.equal(torch.stack([splits.train[i]["pixel_values"] for i in range(16)]), expected)


def test_epochs_and_seeds_differ(splits, image_folder, build):
    first = pixels(splits.train, batch_size=16)
    splits.train.set_epoch(1)
    second = pixels(splits.train, batch_size=16)
    assert (first != second).flatten(1).any(1).sum() >= 14
    splits.train.set_epoch(0)
    assert torch.equal(pixels(splits.train, batch_size=16), first)
    other = build(image_folder, augment=AUGMENT, splits={"eval": "test"}, seed=7)
    assert not torch.equal(pixels(other.train, batch_size=16), first)


def test_the_epoch_reaches_living_workers(splits):
    loader = DataLoader(
        splits.train, batch_size=4, collate_fn=collate_rows, num_workers=2, persistent_workers=True
    )
    for epoch in range(3):
        splits.train.set_epoch(epoch)
        loaded = torch.cat([batch["pixel_values"] for batch in loader])
        assert torch.equal(loaded, pixels(splits.train, batch_size=16))


def test_only_training_rows_are_augmented(splits, image_folder, build):
    plain = build(image_folder, splits={"eval": "test", "test": "test"})
    for name in ("eval", "test"):
        assert torch.equal(
            pixels(getattr(splits, name), batch_size=4), pixels(getattr(plain, name), batch_size=4)
        )
    assert not torch.equal(pixels(splits.train, batch_size=4), pixels(plain.train, batch_size=4))


def test_a_copy_in_another_process_gives_the_same(splits):
    copy = pickle.loads(pickle.dumps((splits.train.raw, splits.train.transform, splits.train.augment)))
    other = type(splits.train)(copy[0], copy[1], augment=copy[2], seed=splits.train.seed)
    assert torch.equal(pixels(other, batch_size=4), pixels(splits.train, batch_size=4))


def test_a_batch_is_made_in_one_piece(splits):
    rows = splits.train.__getitems__([3, 1, 2])
    batch = collate_rows(rows)
    assert batch["pixel_values"].data_ptr() == rows[0]["pixel_values"].data_ptr()
    assert torch.equal(batch["pixel_values"][1], splits.train[1]["pixel_values"])
    assert torch.equal(collate_rows(rows[::-1])["pixel_values"], batch["pixel_values"].flip(0))
    assert torch.equal(collate_rows(rows[1:])["pixel_values"], batch["pixel_values"][1:])
    assert batch["labels"].dtype == torch.int64


@pytest.mark.parametrize("remove", [True, False])
def test_the_model_sees_what_it_takes(remove, splits, tmp_path):
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=32,
        patch_size=16,
        num_labels=2,
    )
    args = TrainingArguments(
        output_dir=str(tmp_path),
        remove_unused_columns=remove,
        per_device_train_batch_size=4,
        report_to="none",
        use_cpu=True,
    )
    trainer = Trainer(
        ViTForImageClassification(config), args, data_collator=collate_rows, train_dataset=splits.train
    )
    batch = next(iter(trainer.get_train_dataloader()))
    assert set(batch) == {"pixel_values", "labels"}
    assert batch["pixel_values"].shape == (4, 3, 32, 32)


def test_a_batch_larger_than_the_split(splits):
    check_batch_size(splits, 16)
    with pytest.raises(DataError, match=r"r\.yaml:1:1: a batch of 17 is larger than the training split \(16"):
        check_batch_size(splits, 17, where="r.yaml:1:1")


def test_a_wrong_augmentation_is_found_before_any_data(recipe_for, build):
    with pytest.raises(
        UserError, match=r"recipe\.yaml:8:5: the augmentation 'random_crop' has no option 'pad"
    ):
        build("./nowhere", augment=[{"name": "random_crop", "pading": 4}])
