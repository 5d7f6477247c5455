"""Every kind of data set that can be named, and every way to name it wrongly."""

import json

import datasets
import numpy as np
import pytest

from hf_finetune.errors import DataError


def content(splits):
    """Return what does not depend on how the rows were stored."""
    return {
        name: [(int(row["labels"]), row["pixel_values"].sum().item()) for row in getattr(splits, name)]
        for name in ("train", "test")
    }


@pytest.fixture
def by_folder(image_folder, build):
    return build(image_folder, splits={"train": "train", "eval": "test", "test": "test"})


def test_a_folder_of_class_folders(by_folder):
    assert by_folder.sizes == {"train": 16, "eval": 4, "test": 4}
    assert by_folder.labels.names == ("cat", "dog")
    assert by_folder.columns == {"image": "image", "label": "label"}
    assert [int(row["labels"]) for row in by_folder.test] == [0, 0, 1, 1]


def test_class_folders_without_splits(image_folder, build):
    splits = build(image_folder / "train")
    assert splits.labels.names == ("cat", "dog")
    assert splits.sizes == {"train": 14, "eval": 2}


@pytest.mark.parametrize("kind", ["builder", "parquet", "parquet files", "saved", "arrow", "json", "csv"])
def test_every_kind_gives_the_same_rows(kind, tmp_path, image_folder, build, by_folder):
    loaded = datasets.load_dataset(str(image_folder))
    splits = {"train": "train", "eval": "test", "test": "test"}
    files = {}
    if kind == "builder":
        made = build("imagefolder", data_dir=str(image_folder), splits=splits)
    elif kind == "saved":
        loaded.save_to_disk(tmp_path / "saved")
        made = build(tmp_path / "saved", splits=splits)
    elif kind.startswith("parquet"):
        (tmp_path / "files").mkdir()
        for name, split in loaded.items():
            files[name] = str(tmp_path / "files" / f"{name}.parquet")
            split.to_parquet(files[name])
        made = build(tmp_path / "files", splits=splits)
        if kind == "parquet files":
            made = build("parquet", data_files=files, splits=splits)
    elif kind == "arrow":
        loaded.save_to_disk(tmp_path / "saved")
        files = {name: str(next((tmp_path / "saved" / name).glob("*.arrow"))) for name in loaded}
        made = build("arrow", data_files=files, splits=splits)
    else:
        for name, split in loaded.items():
            stored = split.cast_column("image", datasets.Image(decode=False))
            rows = [
                {"file": str(row["image"]["path"]).split(f"{image_folder}/")[1], "label": row["label"]}
                for row in stored
            ]
            files[name] = f"{name}.{kind}"
            lines = [json.dumps(row) for row in rows]
            if kind == "csv":
                lines = ["file,label", *(f"{row['file']},{row['label']}" for row in rows)]
            (image_folder / files[name]).write_text("\n".join(lines) + "\n")
        made = build(kind, data_files={k: str(image_folder / v) for k, v in files.items()}, splits=splits)
        assert made.columns == {"image": "file", "label": "label"}
    assert content(made) == content(by_folder)


def test_a_folder_with_metadata(tmp_path, pictures, build):
    (tmp_path / "set").mkdir()
    for i, picture in enumerate(pictures(10)):
        picture.save(tmp_path / "set" / f"{i}.png")
    rows = [json.dumps({"file_name": f"{i}.png", "colour": "red" if i % 3 else "blue"}) for i in range(10)]
    (tmp_path / "set" / "metadata.jsonl").write_text("\n".join(rows))
    splits = build(tmp_path / "set")
    assert splits.columns == {"image": "image", "label": "colour"}
    assert splits.labels.names == ("blue", "red")


def test_options_reach_the_builder(image_folder, build):
    (image_folder / "rows.csv").write_text("file;label\n" + "train/cat/00.png;a\ntrain/dog/00.png;b\n" * 5)
    assert build(image_folder / "rows.csv", options={"sep": ";"}).sizes == {"train": 9, "eval": 1}


def test_one_file(tmp_path, labelled, build):
    labelled(["a", "b"] * 10).to_parquet(tmp_path / "all.parquet")
    splits = build(tmp_path / "all.parquet")
    assert splits.sizes == {"train": 18, "eval": 2}
    assert splits.labels.names == ("a", "b")


def test_one_saved_split_is_train(tmp_path, labelled, build):
    labelled([0, 1] * 5).save_to_disk(tmp_path / "saved")
    assert build(tmp_path / "saved").sizes == {"train": 9, "eval": 1}


def test_split_expressions(image_folder, build):
    splits = build(image_folder, splits={"train": "train[:75%]", "eval": "train[75%:]", "test": "test[1:3]"})
    assert splits.sizes == {"train": 12, "eval": 4, "test": 2}
    whole = build(image_folder, splits={"train": "train+test[:3]", "eval": "test[3:]"})
    assert whole.sizes == {"train": 19, "eval": 1}


def test_a_validation_split_is_used_where_there_is_one(tmp_path, labelled, build):
    datasets.DatasetDict(train=labelled([0, 1] * 5), validation=labelled([0, 1] * 2, seed=1)).save_to_disk(
        tmp_path / "saved"
    )
    splits = build(tmp_path / "saved")
    assert splits.sizes == {"train": 10, "eval": 4}
    assert splits.notes == ("eval: the data set's split 'validation'",)


def test_the_fingerprint_is_of_the_contents(tmp_path, labelled, build):
    labels = ["a", "b"] * 5
    labelled(labels).save_to_disk(tmp_path / "one")
    labelled(labels).to_parquet(tmp_path / "two.parquet")
    labelled(labels[1:] + labels[:1]).save_to_disk(tmp_path / "other labels")
    labelled(labels, seed=1).save_to_disk(tmp_path / "other pixels")
    prints = [
        build(tmp_path / name).fingerprint for name in ("one", "two.parquet", "other labels", "other pixels")
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": "{root}/pet"}, r"recipe\.yaml:\d+:\d+: there is nothing at .*pet\. Did you mean .*pets\?"),
        ({"path": "./nowhere/at/all"}, r"there is nothing at .*nowhere/at/all\. Relative paths start at"),
        ({"path": "{root}/x.bin"}, r"x\.bin is of no known kind\. Known suffixes: \.arrow, \.csv"),
        ({"path": "{root}/empty"}, r"the folder .*empty is empty"),
        (
            {"path": "imagefolder"},
            r"'imagefolder' is a way of reading files, not a data set\. Name the files",
        ),
        (
            {"splits": {"train": "trian"}},
            r"recipe\.yaml:\d+:\d+: the data set has no split 'trian'\. Did you",
        ),
        ({"splits": {"train": "train[:0]"}}, r"the split 'train\[:0\]' is empty \(train has 16 rows\)"),
        ({"splits": {"eval": "test[3:1]"}}, r"the split 'test\[3:1\]' is empty \(test has 4 rows\)"),
        ({"splits": {"train": "train[%5]"}}, r"'train\[%5\]' is not a split expression.*train\[:95%\]"),
        ({"splits": {"train": "train[:1]"}}, r"every row of the split 'train' has the label 'cat'"),
        ({"columns": {"image": "img"}}, r"recipe\.yaml:\d+:\d+: the data set has no column 'img'\. Did you"),
        (
            {"columns": {"pixels": "image"}},
            r"image-classification has no role 'pixels'\. Its roles: image, l",
        ),
        ({"path": "csv", "data_files": "{root}/torn.csv"}, r"csv cannot be read: "),
        (
            {"revision": "main"},
            r"recipe\.yaml:\d+:\d+: data\.revision means nothing for local files\. Take it",
        ),
        ({"path": "{root}/torn.csv", "data_dir": "x"}, r"data\.data_dir means nothing for a single file"),
        ({"options": {"split": "train"}}, r"recipe\.yaml:\d+:\d+: data\.options cannot hold 'split'"),
        ({"options": {"drop_lables": True}}, r"cannot be loaded: .*drop_lables"),
    ],
)
def test_messages(data, message, tmp_path, image_folder, build):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.bin").write_bytes(b"x")
    (tmp_path / "torn.csv").write_text('a,b\n1,2\n1,2,3,4\n"')
    data = {"path": image_folder, **data}
    data = {k: str(v).replace("{root}", str(tmp_path)) if isinstance(v, str) else v for k, v in data.items()}
    with pytest.raises(DataError, match=message):
        build(data.pop("path"), **data)


def test_a_corner_of_a_split_cannot_be_held_out_of(tmp_path, labelled, build):
    labelled(["a", "b"]).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match=r"the training split \(2 rows\) is too small"):
        build(tmp_path / "two")


def test_splits_must_agree(tmp_path, labelled, build):
    names = datasets.ClassLabel(names=["cat", "dog"])
    other = datasets.ClassLabel(names=["dog", "cat"])
    datasets.DatasetDict(train=labelled([0, 1], names), test=labelled([0, 1], other)).save_to_disk(
        tmp_path / "saved"
    )
    with pytest.raises(DataError, match=r"the column 'label' \(label\) is .* in the eval split but"):
        build(tmp_path / "saved", splits={"eval": "test"})


def test_rows_read_back(by_folder, image_folder):
    raw = by_folder.raw("test")
    assert len(raw) == 4
    assert raw[2]["row"] == 2
    assert int(raw[2]["labels"]) == 1
    assert raw[2]["image"].dtype == np.uint8
    assert raw[2]["image"].shape == (16, 16, 3)
