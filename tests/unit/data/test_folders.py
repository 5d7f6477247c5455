"""Folders of pictures and sounds: what is a split, what is a class, and nothing is lost without a word."""

import logging
import os
import shutil
import zipfile

import datasets
import pytest
from PIL import Image

from hf_finetune.data.load import load_splits
from hf_finetune.data.sound_files import sounds_as_files
from hf_finetune.errors import DataError
from hf_finetune.predicting.inputs import find_inputs
from hf_finetune.recipe.specs import TaskSpec
from hf_finetune.tasks import TASKS


@pytest.fixture
def put(tmp_path):
    """Return a function that writes small files below a folder, and returns the folder."""

    def write(*names: str, root: str = "set"):
        for i, name in enumerate(names):
            file = tmp_path / root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix.lower() in (".png", ".jpg"):
                Image.new("RGB", (8, 8), (i % 256, 0, 0)).save(file)
            else:
                file.write_text("nothing\n")
        return tmp_path / root

    return write


@pytest.fixture
def read(recipe_for, caplog):
    """Return a function that loads a data set; what it says is in caplog."""

    def load(path, **data):
        caplog.set_level(logging.INFO, "hf_finetune")
        return load_splits(recipe_for(path, **data))

    return load


def rows(splits, root):
    """Return split -> (file, class name) of its rows, in their order."""
    found = {}
    for name, split in splits.items():
        stored = split.cast_column("image", datasets.Image(decode=False))
        classes = split.features["label"].names
        found[name] = [(os.path.relpath(r["image"]["path"], root), classes[r["label"]]) for r in stored]
    return found


def several(folder: str, n: int = 2) -> list[str]:
    return [f"{folder}/{i}.png" for i in range(n)]


ORDINARY = {
    "classes": [*several("b", 3), *several("a c"), *several("a"), *several("ä")],
    "splits": [f for s in ("train", "val", "test") for c in ("cat", "dog") for f in several(f"{s}/{c}")],
    "deeper": [f for s in ("train", "test") for c in ("x", "y") for f in several(f"data/{s}/{c}")],
    "fewer classes in test": [*several("train/a"), *several("train/b"), *several("test/b")],
    "a class only in test": [
        *several("train/a"),
        *several("train/c"),
        *several("test/b"),
        *several("test/a"),
    ],
    "numbered": [
        f for s in ("train-1", "train_2", "my test") for c in ("x", "y") for f in several(f"{s}/{c}")
    ],
    "by file": [f"{c}/{s}_{i}.png" for c in ("x", "y") for s in ("train", "test") for i in range(2)],
    "suffixes": ["a/0.PNG", "a/1.jpg", "b/0.JPG", "b/Thumbs.db", "b/.hidden.png", "README.md"],
}


@pytest.mark.parametrize("names", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_folders_are_read_as_datasets_reads_them(names, put, read):
    root = put(*names)
    theirs, ours = datasets.load_dataset(str(root)), read(root)
    assert rows(ours, root) == rows(theirs, root)
    assert list(ours) == list(theirs)
    assert all(ours[split].features == theirs[split].features for split in theirs)


def test_a_class_called_train_takes_no_other_files_out(put, read, caplog):
    root = put(*several("bus"), *several("car"), *several("train"))
    assert [label for _, label in rows(read(root), root)["train"]] == [
        "bus",
        "bus",
        "car",
        "car",
        "train",
        "train",
    ]
    assert f"{root}: train is a class, as all folders" in caplog.messages
    every = read("imagefolder", data_files=f"{root}/**")
    assert rows(every, root) == rows(read(root), root)


def test_words_in_the_names_of_files_take_no_other_files_out(put, read, caplog):
    root = put(*several("glass"), "glass/test tubes.png", "metal/a train 1.png", *several("metal"))
    assert len(read(root)["train"]) == 6
    assert f"{root}: 6 files, all used" in caplog.messages


def test_capital_splits_are_no_classes(put, read):
    root = put(*several("Train/cat"), *several("Train/dog"), *several("Test/cat"))
    assert {name: len(split) for name, split in read(root).items()} == {"train": 4, "test": 2}


def test_classes_whose_names_speak_of_one_split(put, read):
    root = put(*several("bullet train"), *several("steam train"))
    assert read(root)["train"].features["label"].names == ["bullet train", "steam train"]


def test_splits_in_class_folders(put, read):
    root = put(*(f for c in ("cat", "dog") for s in ("train", "test") for f in several(f"{c}/{s}")))
    splits = read(root)
    assert rows(splits, root)["test"] == [
        ("cat/test/0.png", "cat"),
        ("cat/test/1.png", "cat"),
        ("dog/test/0.png", "dog"),
        ("dog/test/1.png", "dog"),
    ]
    assert len(splits["train"]) == 4


def test_a_split_or_a_class_is_a_question_whose_answers_work(put, read):
    root = put(*several("train/a"), *several("train/b"), *several("more"))
    with pytest.raises(DataError) as caught:
        read(root)
    assert "recipe.yaml:5:3: " in str(caught.value)
    assert "is the folder 'train' a split or a class? Beside it lie more" in str(caught.value)
    assert (
        "data: {data_files: {train: 'train/**'}}; for a class, name them all: data: {data_files: '**'}."
        in str(caught.value)
    )
    as_split = read(root, data_files={"train": "train/**"})
    assert as_split["train"].features["label"].names == ["a", "b"]
    as_class = read(root, data_files="**")
    assert as_class["train"].features["label"].names == ["more", "train"]
    assert len(as_class["train"]) == 6


def test_folders_in_class_folders_belong_to_the_class(put, read, caplog):
    root = put(*several("cat/a"), *several("cat/b"), *several("dog"))
    splits = read(root)
    assert splits["train"].features["label"].names == ["cat", "dog"]
    assert [label for _, label in rows(splits, root)["train"]] == ["cat"] * 4 + ["dog"] * 2
    assert f"{root}: 4 files lie deeper (cat/a, cat/b); their class is the first folder" in caplog.messages
    by_part = read(root, data_files=["cat/**", "dog/**"])
    assert by_part["train"].features["label"].names == ["a", "b", "dog"]


def test_a_folder_around_all_classes_is_none_and_that_is_said(put, read, caplog):
    root = put(*several("cat/a"), *several("cat/b"))
    assert read(root)["train"].features["label"].names == ["a", "b"]
    assert f"{root}: the classes are the folders in cat" in caplog.messages
    put(*several("train/set/a"), *several("train/set/b"), *several("test/all/b"), root="other")
    splits = read(root.parent / "other")
    assert splits["test"].features["label"].names == ["a", "b"]
    assert f"{root.parent / 'other'}: the classes are the folders in all, set" in caplog.messages


def test_files_that_describe_pictures_are_no_tables(put, read):
    names = [
        f"{label}/{i}{suffix}" for label in "ab" for i in range(2) for suffix in (".png", ".json", ".csv")
    ]
    assert len(read(put(*names))["train"]) == 4


@pytest.mark.parametrize("splits", ["", "train/"])
def test_a_picture_without_a_class_is_named(splits, put, read, caplog):
    root = put(*several(f"{splits}cat"), *several(f"{splits}dog"), f"{splits}odd.png")
    with pytest.raises(
        DataError, match=r"1 file in no class folder: odd\.png; the classes are cat, dog\. Put"
    ):
        read(root)
    assert len(read(root, bad_rows="drop")["train"]) == 4
    assert "5 files, 4 used; left out: 1 file in no class folder (odd.png in " in caplog.text


def test_a_split_without_classes_that_is_not_used_is_left_out(put, read, caplog):
    root = put(*several("train/cat"), *several("train/dog"), *several("test"))
    assert list(read(root)) == ["train"]
    assert "6 files, 4 used; left out: 2 files in no class folder (0.png, 1.png in " in caplog.text
    with pytest.raises(DataError, match=r"2 files in no class folder"):
        read(root, splits={"test": "test"})


def test_a_picture_beside_the_splits_is_named(put, read):
    root = put(*several("train/cat"), *several("train/dog"), *several("test/dog"), "sample.png")
    with pytest.raises(
        DataError, match=r"sample\.png beside the folders of the splits \(train, test\)\. Move"
    ):
        read(root)
    assert sum(map(len, read(root, bad_rows="drop").values())) == 6


def test_links_are_followed(put, read, tmp_path):
    put(*several("all"), root="store")
    root = put(*several("train/red"), *several("train/green"))
    (root / "train" / "blue").symlink_to(tmp_path / "store" / "all")
    (root / "train" / "red" / "2.png").symlink_to("../green/0.png")
    (root / "train" / "red" / "loop").symlink_to("../../train")
    splits = read(root)
    assert [label for _, label in rows(splits, root)["train"]] == ["blue"] * 2 + ["green"] * 2 + ["red"] * 3
    linked = tmp_path / "link"
    linked.symlink_to(root)
    assert (
        len(read(linked)["train"]) == len(read("imagefolder", data_files=f"{linked}/train/**")["train"]) == 7
    )


def test_a_broken_link_is_named(put, read, caplog):
    root = put(*several("red"), *several("green"))
    (root / "blue").symlink_to("nowhere")
    for data in ({}, {"data_files": "**"}, {"data_files": "*/*.png"}):
        with pytest.raises(DataError, match=r"a broken link: blue\. Mend or remove"):
            read(root, **data)
    assert len(read(root, bad_rows="drop")["train"]) == 4
    assert f"{root}: 5 files, 4 used; left out: a broken link (blue)" in caplog.messages


def test_predict_follows_links_and_names_broken_ones(put, recipe_for, tmp_path):
    put(*several("all"), root="store")
    root = put("a.png", ".hidden.png", "b/c.png")
    (root / "b" / "all").symlink_to(tmp_path / "store" / "all")
    (root / "b" / "broken.png").symlink_to("nowhere")
    recipe = recipe_for(root)
    task = TASKS.get(recipe.task.name)(recipe.task)
    names = ["a.png", "b/all/0.png", "b/all/1.png", "b/broken.png", "b/c.png"]
    assert find_inputs([str(root)], recipe, task).values == [f"{root}/{name}" for name in names]
    (root / "b" / "broken.png").unlink()
    assert len(find_inputs([str(root)], recipe, task, split="train")) == 4


def test_what_is_left_out_is_counted(put, read, caplog):
    names = [
        "cat/Thumbs.db",
        "notes.txt",
        "dog/more.txt",
        "dog/.hidden.png",
        "__MACOSX/cat/x.png",
        "labels.csv",
    ]
    root = put(*several("cat"), *several("dog"), *names)
    assert len(read(root)["train"]) == 4
    told = "2 .txt, cat/Thumbs.db, labels.csv, 2 hidden (__MACOSX, dog/.hidden.png)"
    assert f"{root}: 8 files, 4 used; left out: {told}" in caplog.messages
    assert (
        f"{root}/labels.csv is a table, and not read: name it in data.path if it is the data"
        in caplog.messages
    )


def test_what_cannot_be_read_is_named(put, read, caplog, monkeypatch):
    root = put(*several("cat"), *several("dog"))
    os.mkfifo(root / "cat" / "pipe.png")
    assert len(read(root)["train"]) == 4
    assert "4 files, all used; left out: a socket, pipe or device (cat/pipe.png)" in caplog.text
    (root / os.fsdecode(b"d\xff")).mkdir()
    with pytest.raises(DataError, match=r"the name of 'd.' is not UTF-8\. Rename it"):
        read(root)
    (root / os.fsdecode(b"d\xff")).rmdir()
    scan = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"/dog cannot be read: Permission denied"):
        read(root)


def test_a_script_beside_the_files_is_no_matter(put, read):
    root = put(*several("cat"), *several("dog"), "set.py")
    assert len(read(root)["train"]) == 4
    for file in root.rglob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"there is no picture, sound or table in .*set; it holds set\.py"):
        read(root)


def test_a_folder_named_as_a_builder(put, read, monkeypatch, tmp_path):
    put(*several("cat"), *several("dog"), root="imagefolder")
    put("elsewhere.png", root=".")
    monkeypatch.chdir(tmp_path)
    assert len(read("imagefolder")["train"]) == 4


def test_brackets_in_names_are_no_patterns(put, read):
    root = put("a/[1].png", "b/x*.png")
    assert len(read(root)["train"]) == 2
    files = [f"{root}/a/[1].png", f"{root}/b/x*.png"]
    assert [label for _, label in rows(read("imagefolder", data_files=files), root)["train"]] == ["a", "b"]


def test_options_of_the_builder(put, read):
    root = put(*several("cat"), *several("dog"))
    assert rows(read(root, options={"drop_metadata": True, "keep_in_memory": True}), root) == rows(
        read(root), root
    )
    assert read(root, options={"drop_labels": True})["train"].column_names == ["image"]
    put("cat/deep/0.png")
    with pytest.raises(
        DataError, match=r"data\.options\.keep_in_memory goes to imagefolder .* at other depths"
    ):
        read(root, options={"keep_in_memory": True})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("cat", r"recipe\.yaml:6:3: cat is a folder\. Name the files in it: cat/\*\*"),
        ("cats/*.png", r"recipe\.yaml:6:3: there is no folder .*/cats\. Check"),
        ("cat/9.png", r"recipe\.yaml:6:3: there is no file .*cat/9\.png"),
        ("*.png", r"no file is named by \*\.png; there are 0 in .*set\. Write \*\* for files in folders"),
    ],
)
def test_patterns_that_find_nothing(files, message, put, read):
    with pytest.raises(DataError, match=message):
        read(put(*several("cat"), *several("dog")), data_files=files)


def test_sounds_are_read_as_datasets_reads_them(put, recipe_for):
    root = put("train/yes/0.wav", "train/no/1.WAV", "test/no/0.flac", "train/yes/cover.png")
    recipe = recipe_for(root).model_copy(update={"task": TaskSpec(name="audio-classification")})
    ours = load_splits(recipe)
    with sounds_as_files():
        (root / "train" / "yes" / "cover.png").unlink()
        theirs = datasets.load_dataset(str(root))
    for split in ("train", "test"):
        assert ours[split].features == theirs[split].features
        stored = [
            splits[split].cast_column("audio", datasets.Audio(decode=False)) for splits in (ours, theirs)
        ]
        assert stored[0][:] == stored[1][:]


@pytest.fixture
def described(put):
    """Return a folder whose splits have tables of metadata, and a picture that none names."""
    root = put(*several("train", 3), *several("test"), "train/extra.png")
    for split, n in (("train", 3), ("test", 2)):
        lines = [f"{i}.png,{'ab'[i % 2]}" for i in range(n)]
        (root / split / "metadata.csv").write_text("\n".join(["file_name,colour", *lines]) + "\n")
    return root


def test_metadata_is_read_as_datasets_reads_it(described, read, caplog):
    theirs, ours = datasets.load_dataset(str(described)), read(described)
    for split in ("train", "test"):
        assert ours[split].features == theirs[split].features
        stored = [
            splits[split].cast_column("image", datasets.Image(decode=False)) for splits in (ours, theirs)
        ]
        assert stored[0][:] == stored[1][:]
    told = "8 files, 7 used; left out: 1 file that no table of metadata names (extra.png)"
    assert f"{described}: {told}" in caplog.messages


def test_metadata_above_the_splits(described, read, put):
    one = put(*several("train", 3), root="one")
    (one / "metadata.csv").write_text("file_name,colour\n" + "".join(f"train/{i}.png,a\n" for i in range(3)))
    assert len(read(one)["train"]) == 3
    os.rename(described / "train" / "metadata.csv", described / "metadata.csv")
    with pytest.raises(
        DataError, match=r"metadata\.csv beside the folders of the splits .*Put a table of meta"
    ):
        read(described)


def test_a_split_without_metadata(described, read):
    (described / "test" / "metadata.csv").unlink()
    with pytest.raises(
        DataError, match=r"the files of the split 'test' have no table of metadata, as those of"
    ):
        read(described)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives(kind, put, read, tmp_path):
    root = put(*several("train/a"), *several("train/b"), *several("test/a"))
    packed = shutil.make_archive(str(tmp_path / "pets"), kind, root)
    for data in ({"path": packed}, {"path": "imagefolder", "data_files": packed}):
        splits = read(**data)
        assert {name: len(split) for name, split in splits.items()} == {"train": 4, "test": 2}
        assert splits["test"].features["label"].names == ["a", "b"]
    parts = {
        split: shutil.make_archive(str(tmp_path / split), kind, root / split) for split in ("train", "test")
    }
    splits = read("imagefolder", data_files=parts)
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "test": 2}
    shutil.rmtree(root / "train" / "b")
    shutil.make_archive(str(tmp_path / "pets"), kind, root)
    assert len(read(packed)["train"]) == 2


def test_damaged_archives(put, read, tmp_path):
    root = put(*several("a", 9), *several("b", 9))
    packed = tmp_path / "pets.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for name in sorted(root.rglob("*.png")):
            file.write(name, name.relative_to(root))
    content = packed.read_bytes()
    at = content.index(b"b/3.png") + 50
    packed.write_bytes(content[:at] + b"damage" + content[at + 6 :])
    for _ in range(2):  # what was unpacked before the damage is not taken for the whole
        with pytest.raises(
            DataError, match=r"recipe\.yaml:6:3: .*pets\.zip: b/3\.png cannot be read: Bad CRC"
        ):
            read("imagefolder", data_files=str(packed))
    packed = tmp_path / "pets.tar"
    shutil.make_archive(str(tmp_path / "pets"), "tar", root)
    content = packed.read_bytes()
    at = content.index(b"./b/3.png")
    for damaged in (
        content[: at + 200],
        content[:at],
        content[:at] + b"damage" + content[at + 6 :],
    ):
        packed.write_bytes(damaged)
        with pytest.raises(DataError, match=r"pets\.tar is damaged (or cut off )?after \./"):
            read("imagefolder", data_files=str(packed))
