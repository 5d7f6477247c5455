"""The same rows in two splits, and the same input in several rows: refused, or said with names."""

import re

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_finetune.data.build import _tell_split_column
from hf_finetune.data.duplicates import find_duplicates
from hf_finetune.data.overlap import find_overlaps
from hf_finetune.errors import DataError, UserError

LENGTHS = {"train": 100, "validation": 20, "test": 30}


def overlaps(recipe_for, **splits):
    return find_overlaps(splits, LENGTHS, recipe_for("nowhere", splits=splits))


def test_a_column_that_speaks_of_splits_and_decides_nothing_is_told():
    said = {"image": ["1.png", "2.png", "3.png"], "split": ["train", "test", "train"]}
    (note,) = _tell_split_column(datasets.Dataset.from_dict(said))
    assert note == "train: all its rows are used, whatever the column 'split' says of them ('train', 'test')"
    assert not _tell_split_column(datasets.Dataset.from_dict(said | {"split": ["upper", "lower", "train"]}))


@pytest.mark.parametrize(
    "splits",
    [
        {"train": "train", "eval": "validation", "test": "test"},
        {"train": "train[:33%]", "eval": "train[33%:66%]", "test": "train[66%:]"},
        {"train": "train[10:]+test[:15]", "eval": "train[:10]", "test": "test[15:]"},
    ],
)
def test_splits_apart_are_fine(recipe_for, splits):
    assert overlaps(recipe_for, **splits) == ({}, [])


@pytest.mark.parametrize(
    ("splits", "count", "where", "ranges", "todo"),
    [
        ({"train": "train[:80%]", "eval": "train[70%:]"}, 10, "eval", "train[70:80]", {"eval": "train[80:]"}),
        (
            {"train": "train+validation", "eval": "validation"},
            20,
            "eval",
            "validation[0:20]",
            {"train": "train"},
        ),
        (
            {"train": "train[10:90]", "eval": "train"},
            80,
            "eval",
            "train[10:90]",
            {"eval": "train[:10]+train[90:]"},
        ),
        (
            {"train": "train", "eval": "test[:20]", "test": "test"},
            20,
            "test",
            "test[0:20]",
            {"test": "test[20:]"},
        ),
        ({"train": "train[:80%]", "test": "train[79:]"}, 1, "test", "train[79:80]", {"test": "train[80:]"}),
        (
            {"train": "train[:80%]", "eval": "train[79%:](pct1_dropremainder)"},
            1,
            "eval",
            "train[79:80]",
            {"eval": "train[80:]"},
        ),
    ],
)
def test_splits_that_overlap_are_refused_and_the_advice_works(recipe_for, splits, count, where, ranges, todo):
    with pytest.raises(DataError) as caught:
        overlaps(recipe_for, **splits)
    (name, better) = next(iter(todo.items()))
    message = str(caught.value)
    assert re.match(rf".*recipe\.yaml:{list(splits).index(where) + 7}:\d+: {count} row", message)
    assert f': {ranges}. Write splits: {{{name}: "{better}"}}' in message
    assert overlaps(recipe_for, **splits | todo) == ({}, [])


def test_all_overlaps_come_at_once(recipe_for):
    with pytest.raises(UserError) as caught:
        overlaps(recipe_for, train="train[:80]", eval="train[70:90]", test="train[75:]")
    assert len(str(caught.value).splitlines()) == 3


def test_the_same_rows_are_let_through_and_said(recipe_for):
    found, _ = overlaps(recipe_for, train="train[50%:]", eval="train[50:]", test="validation")
    assert list(found) == [("train", "eval")]
    assert found["train", "eval"].startswith("eval is the training data (train[50:]): its scores say nothing")
    found, _ = overlaps(recipe_for, train="train", eval="test", test="test")
    assert "the best model is chosen by the rows it is tested on" in found["eval", "test"]


def test_rows_that_are_in_a_split_twice(recipe_for):
    assert overlaps(recipe_for, train="train+train", eval="test") == (
        {},
        ["train: 100 rows of train+train are in it more than once"],
    )
    message = (
        r'10 rows are in train .* more than once, and eval is part of it\. Write splits: \{train: "train"\}'
    )
    with pytest.raises(DataError, match=message):
        overlaps(recipe_for, train="train[:50]+train[40:]")


def test_a_run_on_its_training_data(image_folder, build):
    splits = build(image_folder, splits={"train": "train", "eval": "train", "test": "test"})
    assert splits.warnings == [
        "eval is the training data (train): its scores say nothing about data the model has not seen"
    ]
    held_out = build(image_folder, splits={"train": "train", "test": "train"})
    assert [warning.partition(":")[0] for warning in held_out.warnings] == [
        "test is the training data (train)"
    ]


@pytest.fixture
def doubled(image_folder):
    """Return the folder with one cat in both splits, one among the dogs, and one that is there four times."""
    cats, dogs = image_folder / "train" / "cat", image_folder / "train" / "dog"
    (image_folder / "test" / "cat" / "02 cöpy.png").write_bytes((cats / "03.png").read_bytes())
    (dogs / "06.png").write_bytes((cats / "04.png").read_bytes())
    for i in (10, 11, 12):
        # another file of the same pixels
        Image.open(cats / "05.png").save(cats / f"{i}.png", compress_level=0)
    return image_folder


def test_duplicates_are_found_and_named(doubled, build):
    splits = build(doubled, splits={"train": "train", "eval": "test"})
    assert [one.to_json() for one in splits.duplicates] == [
        {
            "what": "1 of the 5 rows of eval has the same input as a row of train",
            "rows": 1,
            "splits": ("train", "eval"),
            "examples": ("eval row 2 (test/cat/02 cöpy.png) is train row 3 (train/cat/03.png)",),
        },
        {
            "what": "one input has more than one class",
            "rows": 1,
            "splits": (),
            "examples": ("train row 4 (train/cat/04.png, cat) and train row 19 (train/dog/06.png, dog)",),
        },
        {
            "what": "4 rows repeat the input of another within train; one input is there 4 times",
            "rows": 4,
            "splits": (),
            "examples": (
                "train row 10 (train/cat/10.png) is train row 5 (train/cat/05.png)",
                "train row 19 (train/dog/06.png) is train row 4 (train/cat/04.png)",
            ),
        },
    ]
    assert splits.warnings[0] == (
        "1 of the 5 rows of eval has the same input as a row of train, such as "
        "eval row 2 (test/cat/02 cöpy.png) is train row 3 (train/cat/03.png)"
    )


def test_duplicates_across_a_hold_out_are_found(tmp_path, labelled, build):
    data = labelled([0, 1] * 10)
    (data.select([*range(20), *range(20)])).save_to_disk(tmp_path / "saved")
    splits = build(tmp_path / "saved", holdout=0.5)
    across = [one for one in splits.duplicates if one.splits == ("train", "eval")]
    held = splits.raw("eval").rows
    shared = [row for row in held if (row + 20) % 40 not in held]
    assert [one.rows for one in across] == [len(shared)]
    # these have no files
    assert across[0].examples[0] == f"eval row {shared[0]} is train row {(shared[0] + 20) % 40}"


def test_a_split_of_nothing_but_copies_is_worth_nothing(tmp_path, labelled, build):
    data = labelled([0, 1] * 4)
    data.to_parquet(tmp_path / "a.parquet")
    files = {"train": str(tmp_path / "a.parquet"), "test": str(tmp_path / "a.parquet")}
    splits = build("parquet", data_files=files, splits={"train": "train", "eval": "test"})
    assert splits.duplicates[0].what == (
        "all 8 rows of eval have the same input as a row of train: "
        "its scores say nothing about data the model has not seen"
    )


def test_pictures_of_one_colour_and_two_shapes_are_two(tmp_path, build):
    (tmp_path / "rows.csv").write_text(
        "image,label\n" + "".join(f"{h}.png,{h % 2}\n" for h in (2, 3, 4, 6, 12)), encoding="utf-8"
    )
    for height in (2, 3, 4, 6, 12):
        Image.fromarray(np.zeros((height, 12 // height, 3), np.uint8)).save(tmp_path / f"{height}.png")
    assert build(tmp_path / "rows.csv").duplicates == ()


def test_hostile_names_are_harmless(tmp_path, pictures, build):
    names = ["a\x1b[31mb.png", "c\u202ed.png"]
    for name in names:
        pictures(1)[0].save(tmp_path / name)
    pictures(2, seed=1)[1].save(tmp_path / "e.png")
    rows = [*((name, "x") for name in names), ("e.png", "y")]
    (tmp_path / "rows.csv").write_text("image,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    (told,) = build(tmp_path / "rows.csv", splits={"train": "train", "eval": "train"}).duplicates
    assert told.examples == (r"train row 1 (c\u202ed.png) is train row 0 (a\x1b[31mb.png)",)


def test_a_million_rows_take_a_second():
    """Stand-ins for splits: only what is looked at of a million rows."""
    import time

    class Prepared:
        def digests(self):
            return np.random.default_rng(0).integers(-(2**63), 2**63, 1_000_000)

        def shapes(self):
            return np.ones(1_000_000, np.int64)

    class Raw:
        split, rows = Prepared(), np.arange(1_000_000)

        def __len__(self):
            return 1_000_000

    start = time.process_time()
    assert find_duplicates({"train": Raw()}, None) == []
    assert time.process_time() - start < 5
