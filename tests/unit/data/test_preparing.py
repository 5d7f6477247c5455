"""Rows are decoded once, ever; rows that cannot be decoded are named, and stop the run or are dropped."""

import datasets
import numpy as np
import pytest

from hf_finetune.errors import DataError


def test_the_second_build_decodes_nothing(image_folder, build, decoded):
    first = build(image_folder, splits={"test": "test"})
    assert len(decoded) == 20
    again = build(image_folder, splits={"test": "test"})
    assert len(decoded) == 20
    assert len(list(again.train)) == 14
    assert len(decoded) == 20
    assert first.fingerprint == again.fingerprint


def test_another_hold_out_decodes_nothing(image_folder, build, decoded):
    build(image_folder)
    other = build(image_folder, seed=1, holdout=0.5)
    assert other.sizes == {"train": 8, "eval": 8}
    assert len(decoded) == 16


def test_large_images_stay_in_their_files(tmp_path, pictures, build, decoded):
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i, picture in enumerate(pictures(4, side=300)):
            picture.save(tmp_path / "pets" / label / f"{i}.jpg")
    splits = build(tmp_path / "pets")
    assert len(decoded) == 8 + 4  # four to check the transform on
    cached = splits.train.raw.split.cached
    assert cached[0]["pixels"] is None
    assert (cached[0]["height"], cached[0]["width"]) == (300, 300)
    assert splits.train.__getitems__([0, 3])[1]["pixel_values"].shape == (3, 32, 32)
    assert len(decoded) == 14


def test_several_processes_prepare_the_same(tmp_path, labelled, build):
    labelled(list(range(10)) * 60).save_to_disk(tmp_path / "saved")
    one = build(tmp_path / "saved")
    datasets.config.HF_DATASETS_CACHE = tmp_path / "other cache"
    assert build(tmp_path / "saved", num_proc=2).fingerprint == one.fingerprint


@pytest.fixture
def damaged(image_folder):
    """Return the folder with a torn file, a file of text, and in the test split an empty one."""
    torn = image_folder / "train" / "cat" / "03.png"
    torn.write_bytes(torn.read_bytes()[:100])
    (image_folder / "train" / "dog" / "01.png").write_text("not an image")
    (image_folder / "test" / "dog" / "01.png").write_bytes(b"")
    return image_folder


def test_bad_rows_stop_the_run(damaged, build):
    message = (
        r"recipe\.yaml:\d+:\d+: 3 unusable rows: train row 3: .*cat/03\.png.*; train row 11: .*01\.png.*; "
        r"test row 3: .*01\.png.*Repair or remove them, or say data: \{bad_rows: drop\}"
    )
    with pytest.raises(DataError, match=message):
        build(damaged, splits={"test": "test"})


def test_repaired_files_are_read_again(tmp_path, image_folder, build, pictures):
    rows = [f"train/{label}/{i:02}.png,{label}" for label in ("cat", "dog") for i in range(6)]
    (image_folder / "rows.csv").write_text("\n".join(["file,label", *rows]))
    one = image_folder / "train" / "cat" / "03.png"
    whole = one.read_bytes()
    one.write_bytes(whole[:100])
    with pytest.raises(DataError, match="1 unusable row: train row 3"):
        build(image_folder / "rows.csv")
    one.write_bytes(whole)
    assert build(image_folder / "rows.csv").sizes == {"train": 11, "eval": 1}


def test_bad_rows_are_dropped_and_counted(damaged, build):
    splits = build(damaged, splits={"eval": "test", "test": "test"}, bad_rows="drop")
    assert splits.sizes == {"train": 14, "eval": 3, "test": 3}
    assert {name: [row for row, _ in rows] for name, rows in splits.dropped.items()} == {
        "train": [3, 11],
        "eval": [3],
        "test": [3],
    }
    assert "03.png" in splits.dropped["train"][0][1]
    assert [splits.raw("train")[i]["row"] for i in (2, 3)] == [2, 4]
    again = build(damaged, splits={"eval": "test", "test": "test"}, bad_rows="drop")
    assert again.dropped == splits.dropped


def test_a_missing_image_is_a_bad_row(tmp_path, labelled, build):
    data = labelled([0, 1] * 5)
    nothing = datasets.Dataset.from_dict({"image": [None], "label": [0]}, features=data.features)
    datasets.concatenate_datasets([data, nothing]).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"train row 10: there is no image \(null\)"):
        build(tmp_path / "saved")


def test_a_missing_file_is_a_bad_row(tmp_path, image_folder, build):
    (image_folder / "rows.csv").write_text("file,label\ntrain/cat/00.png,a\ntrain/cat/99.png,b\n")
    with pytest.raises(DataError, match=r"train row 1: no such file: train/cat/99\.png"):
        build(image_folder / "rows.csv")


def test_nothing_usable(tmp_path, image_folder, build):
    (image_folder / "rows.csv").write_text("file,label\na.png,a\nb.png,b\n")
    with pytest.raises(DataError, match="no row of the train split is usable"):
        build(image_folder / "rows.csv", bad_rows="drop")


def test_the_number_of_a_row_is_that_of_the_loaded_split(image_folder, build):
    splits = build(image_folder)
    rows = sorted(splits.raw(name)[i]["row"] for name in ("train", "eval") for i in range(splits.sizes[name]))
    assert rows == list(np.arange(16))
