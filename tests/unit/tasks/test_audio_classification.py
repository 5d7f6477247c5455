"""Sounds of every source and models of every kind, from the recipe to a batch through the model."""

from __future__ import annotations

import dataclasses
import io

import datasets
import numpy as np
import pytest
import soundfile
import torch
import yaml
from sounds.checkpoints import KINDS, write_checkpoint
from sounds.clips import NAMES, RATE, make_clip, write_folder

from hf_finetune.data import build_datasets
from hf_finetune.engines.evaluation import evaluate, try_one_batch
from hf_finetune.errors import DataError, ModelError, UserError
from hf_finetune.recipe import load_recipe
from hf_finetune.runner import prepare
from hf_finetune.tasks import build_task


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")

    def get(kind):
        return root / kind if (root / kind).is_dir() else write_checkpoint(root / kind, kind)

    return get


@pytest.fixture
def recipe_for(tmp_path, checkpoints):
    def make(path, *, kind="wav2vec2", task=None, model=None, training=None, **data):
        tree = {
            "task": {"name": "audio-classification", **(task or {})},
            "model": {"checkpoint": str(checkpoints(kind)), **(model or {})},
            "data": {"path": str(path), **data},
            "training": {
                "output_dir": str(tmp_path / "run"),
                "per_device_train_batch_size": 7,
                "per_device_eval_batch_size": 5,
                "use_cpu": True,
                **(training or {}),
            },
        }
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(tree, sort_keys=False))
        return load_recipe(file)

    return make


@pytest.fixture
def build(recipe_for):
    def make(path, **kwargs):
        recipe = recipe_for(path, **kwargs)
        task = build_task(recipe)
        return build_datasets(recipe, task, task.load_processor(recipe), seed=0)

    return make


def to_bytes(clip, rate=RATE, kind="WAV"):
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, rate, format=kind)
    return buffer.getvalue()


def clips(count, seconds=0.5):
    rng = np.random.default_rng(0)
    return [make_clip(NAMES[i % 3], seconds, RATE, rng) for i in range(count)], [
        NAMES[i % 3] for i in range(count)
    ]


def check_source(splits, count):
    assert sum(splits.sizes.values()) == count
    assert set(splits.labels.names) == set(NAMES)
    for row in splits.train:
        assert row["input_values"].dtype == torch.float32
        assert row["input_values"].shape == (8000,)


# ---- where sounds may be -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "rate"), [("wav", 16000), ("flac", 48000), ("mp3", 22050), ("ogg", 44100)])
def test_a_folder_of_files(tmp_path, build, kind, rate):
    folder = write_folder(
        tmp_path / "clips", num={"train": 9, "test": 3}, seconds=(0.5, 0.5), rate=rate, kind=kind
    )
    splits = build(folder, splits={"train": "train", "test": "test"}, holdout=0.34)
    assert splits.sizes == {"train": 6, "eval": 3, "test": 3}
    check_source(splits, 12)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_of_relative_paths(tmp_path, build, kind):
    sounds, labels = clips(9)
    (tmp_path / "wavs").mkdir()
    names = [f"wavs/{i}.wav" for i in range(9)]
    for name, clip in zip(names, sounds, strict=True):
        soundfile.write(tmp_path / name, clip, RATE)
    table = datasets.Dataset.from_dict({"file": names, "class": labels, "speaker": ["a"] * 9})
    table.to_csv(tmp_path / "t.csv") if kind == "csv" else table.to_json(tmp_path / "t.jsonl")
    splits = build(tmp_path / f"t.{kind}")
    assert splits.columns == {"audio": "file", "label": "class"}
    check_source(splits, 9)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_tables_with_the_bytes_in_them(tmp_path, build, kind):
    sounds, labels = clips(9)
    values = [{"bytes": to_bytes(clip), "path": f"{i}.wav"} for i, clip in enumerate(sounds)]
    table = datasets.Dataset.from_dict({"audio": values, "label": labels})
    table = table.cast_column("audio", datasets.Audio(decode=False)).cast_column("audio", datasets.Audio())
    if kind == "parquet":
        table.to_parquet(tmp_path / "t.parquet")
    else:
        table.save_to_disk(tmp_path / "t.arrow")
    check_source(build(tmp_path / f"t.{kind}"), 9)


def test_arrays_with_their_rate(tmp_path, build):
    sounds, labels = clips(9)
    values = [{"array": clip.tolist(), "sampling_rate": RATE} for clip in sounds]
    datasets.Dataset.from_dict({"speech": values, "label": labels}).save_to_disk(tmp_path / "t")
    check_source(build(tmp_path / "t"), 9)


def test_another_column_of_sounds_is_left_alone(tmp_path, build):
    sounds, labels = clips(9)
    values = [{"bytes": to_bytes(clip), "path": None} for clip in sounds]
    table = datasets.Dataset.from_dict({"audio": values, "noisy": values, "label": labels})
    for column in ("audio", "noisy"):
        table = table.cast_column(column, datasets.Audio(decode=False)).cast_column(column, datasets.Audio())
    table.save_to_disk(tmp_path / "t")
    check_source(build(tmp_path / "t"), 9)


# ---- what is wrong with a clip -------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """Twelve clips, four of them bad."""
    sounds, labels = clips(12)
    values = [to_bytes(clip) for clip in sounds]
    values[1], values[4] = b"not a sound", to_bytes(np.zeros(8000, np.float32))
    values[7], values[10] = to_bytes(sounds[7][:800]), None
    datasets.Dataset.from_dict({"audio": values, "label": labels}).save_to_disk(tmp_path / "damaged")
    return tmp_path / "damaged"


def test_bad_clips_stop_the_run_by_name(damaged, build):
    with pytest.raises(DataError) as found:
        build(damaged)
    told = str(found.value)
    for words in (
        "4 unusable rows",
        "train row 1: not a sound file",
        "train row 4: silent (nothing but zeros)",
        "train row 7: 0.05 s is shorter than min_seconds: 0.1",
        "train row 10: there is no sound (null)",
        "recipe.yaml",
        "bad_rows: drop",
    ):
        assert words in told


def test_bad_clips_can_be_dropped_and_are_counted(damaged, build):
    splits = build(damaged, bad_rows="drop")
    assert sum(splits.sizes.values()) == 8
    assert [row for row, _ in splits.dropped["train"]] == [1, 4, 7, 10]


def test_what_is_bad_is_for_the_recipe_to_say(damaged, build):
    task = {"min_seconds": 0.01, "allow_silence": True, "max_seconds": 0.4}
    splits_dropped = [
        row for row, _ in build(damaged, bad_rows="drop", task=task | {"max_seconds": 1}).dropped["train"]
    ]
    assert splits_dropped == [1, 10]
    with pytest.raises(DataError, match=r"0\.5 s is longer than max_seconds: 0\.4"):
        build(damaged, task=task)


def test_wrong_options_are_told_with_their_place(tmp_path, recipe_for):
    with pytest.raises(UserError, match=r"recipe.yaml:3:3: task.min_second.*Did you mean 'min_seconds'"):
        recipe_for(tmp_path, task={"min_second": 1})
    with pytest.raises(UserError, match=r"window_seconds.*number"):
        recipe_for(tmp_path, task={"window_seconds": "long"})


def test_a_checkpoint_that_is_not_for_sound(tmp_path, recipe_for):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"model_type": "bert"}')
    recipe = recipe_for(tmp_path, model={"checkpoint": str(tmp_path / "text")})
    with pytest.raises(ModelError, match=r"has no feature extractor.*Name a checkpoint for sound"):
        build_task(recipe).load_processor(recipe)


# ---- every kind of model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("clips"), num={"train": 21, "test": 10})


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_each_split_through_each_kind_of_model(kind, folder, recipe_for):
    recipe = recipe_for(
        folder,
        kind=kind,
        task={"window_seconds": 0.5},
        splits={"test": "test"},
        augment=[{"name": "gain", "p": 1.0}],
    )
    parts = prepare(recipe).parts
    try_one_batch(parts)
    scores = evaluate(parts, parts.eval_dataset, prefix="eval")
    assert 0 < scores["eval_loss"] < 10
    assert 0 <= scores["eval_accuracy"] <= 1


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_score_does_not_depend_on_the_batch_size(folder, recipe_for, batch_size):
    recipe = recipe_for(folder, task={"window_seconds": 0.4}, splits={"test": "test"})
    parts = prepare(recipe).parts
    wanted = evaluate(parts, parts.eval_dataset, prefix="eval")["eval_loss"]
    parts.args.per_device_eval_batch_size = batch_size
    assert evaluate(parts, parts.eval_dataset, prefix="eval")["eval_loss"] == pytest.approx(wanted, rel=1e-4)


def test_training_sees_a_window_and_evaluation_all_of_a_clip(folder, build):
    splits = build(folder, task={"window_seconds": 0.4}, splits={"eval": "test"})
    sizes = [len(row["input_values"]) for row in splits.train]
    assert max(sizes) == 6400
    assert (
        len(
            {
                tuple(splits.train[0]["input_values"][:9].tolist())
                for e in range(5)
                if not splits.train.set_epoch(e)
            }
        )
        > 1
    )
    for row, length in zip(splits.eval, splits.eval.lengths, strict=True):
        assert row["num_windows"] == -(-length // 6400)
        assert row["input_values"].shape == (row["num_windows"], min(length, 6400))


def test_a_clip_no_longer_than_a_window_is_never_cut(folder, build):
    splits = build(folder, splits={"eval": "test"})
    assert splits.train.augment is None
    assert [len(row["input_values"]) for row in splits.train] == splits.train.lengths


@pytest.mark.parametrize(("augment", "num_kept"), [([], 2), (["gain"], 1)])
def test_spectrograms_are_made_once_where_nothing_is_augmented(folder, build, augment, num_kept, monkeypatch):
    splits = build(folder, kind="whisper", splits={"eval": "test"}, augment=augment)
    assert (splits.train.kept is not None) + (splits.eval.kept is not None) == num_kept
    kept = [splits.eval[i] for i in range(len(splits.eval))]
    splits.eval.kept = None
    for i, row in enumerate(kept):
        made = splits.eval[i]
        assert made.keys() == row.keys()
        for name in row:
            torch.testing.assert_close(made[name], row[name], rtol=0, atol=0)
    again = build(folder, kind="whisper", splits={"eval": "test"}, augment=augment)
    monkeypatch.setattr(type(again.eval.transform), "__call__", None)  # nothing is made again
    assert len(list(again.eval)) == 10


def test_spectrograms_of_replaced_sounds_are_made_anew(folder, build):
    before = build(folder, kind="whisper", splits={"eval": "test"})
    (first, last) = (sorted((folder / "test").rglob("*.wav"))[i] for i in (0, -1))
    first.write_bytes(last.read_bytes())
    after = build(folder, kind="whisper", splits={"eval": "test"})
    assert after.eval.kept is not None
    name = "input_features"
    torch.testing.assert_close(after.eval[0][name], before.eval[9][name], rtol=0, atol=0)
    torch.testing.assert_close(after.eval[1][name], before.eval[1][name], rtol=0, atol=0)
    assert after.fingerprint != before.fingerprint
    (told,) = (one for one in after.duplicates if "class" in one.what)
    assert told.examples[0].startswith(f"eval row 0 ({first.relative_to(folder)}, ")


def test_too_many_inputs_are_not_kept(folder, build, monkeypatch):
    monkeypatch.setattr("hf_finetune.data.kept.MAX_BYTES", 1000)
    assert build(folder, kind="whisper", splits={"eval": "test"}).eval.kept is None


# ---- other labels --------------------------------------------------------------------------------------


def test_several_labels_and_numbers(tmp_path, recipe_for):
    sounds, names = clips(12)
    values = [{"bytes": to_bytes(clip), "path": None} for clip in sounds]
    several = [[name] if i % 2 else [name, "loud"] for i, name in enumerate(names)]
    numbers = [float(np.abs(clip).max()) for clip in sounds]
    table = datasets.Dataset.from_dict({"audio": values, "tags": several, "peak": numbers})
    table.save_to_disk(tmp_path / "t")
    for column, problem_type in (("tags", "multi_label_classification"), ("peak", "regression")):
        recipe = recipe_for(tmp_path / "t", columns={"label": column}, task={"window_seconds": 0.2})
        prepared = prepare(recipe)
        assert prepared.splits.labels.problem_type == problem_type
        try_one_batch(prepared.parts)
        scores = evaluate(prepared.parts, prepared.parts.eval_dataset, prefix="eval")
        assert np.isfinite(scores["eval_loss"])


def test_the_model_is_trained_without_a_mask_where_the_extractor_makes_none(folder, recipe_for):
    parts = prepare(recipe_for(folder, kind="wav2vec2-group", splits={"test": "test"})).parts
    seen = []
    parts.model.register_forward_pre_hook(
        lambda model, args, kwargs: seen.append(set(kwargs)), with_kwargs=True
    )
    try_one_batch(dataclasses.replace(parts))
    assert seen == [{"input_values"}]


@pytest.mark.parametrize(("task", "is_trained"), [({}, True), ({"freeze_feature_encoder": True}, False)])
def test_convolutions_are_frozen_where_the_recipe_says_so(task, is_trained, folder, recipe_for):
    model = prepare(recipe_for(folder, task=task, splits={"test": "test"})).parts.model
    own, rest = (
        [p.requires_grad for name, p in model.named_parameters() if (".feature_extractor." in name) == is_own]
        for is_own in (True, False)
    )
    assert own
    assert set(own) == {is_trained}
    assert all(rest)


def test_what_has_no_convolutions_cannot_keep_them(folder, recipe_for):
    recipe = recipe_for(folder, kind="ast", task={"freeze_feature_encoder": True}, splits={"test": "test"})
    with pytest.raises(
        ModelError, match="ASTForAudioClassification has no convolutions over the wave"
    ) as told:
        prepare(recipe)
    assert "recipe.yaml:" in str(told.value)
