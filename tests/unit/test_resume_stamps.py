import copy
import json
from pathlib import Path

import pytest
from transformers import TrainingArguments

from hf_finetune.errors import CheckpointError
from hf_finetune.recipe import load_recipe
from hf_finetune.resume import build_stamp, compare_stamps, require_same_run
from hf_finetune.secrecy import hide_in

SMOKE = Path(__file__).parents[2] / "recipes" / "smoke"

STAMP = {
    "recipe": {
        "task": "image-classification",
        "engine": "trainer",
        "model": {"checkpoint": "org/model", "freeze": []},
        "data": {"path": "org/data", "augment": ["horizontal_flip"], "holdout": 0.1},
        "early_stopping": None,
        "training": {
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "num_train_epochs": 3,
            "seed": 42,
            "optim": "adamw_torch",
            "lr_scheduler_type": "linear",
            "warmup_steps": 0,
            "metric_for_best_model": "accuracy",
            "output_dir": "runs/a",
            "bf16": False,
            "dataloader_drop_last": False,
            "average_tokens_across_devices": True,
        },
    },
    "fingerprint": "abc",
    "num_processes": 1,
    "device": "cpu",
}


SAME = {"name": "image-classification"}  # with options of another, which nothing here looks at


def changed(**values):
    stamp = copy.deepcopy(STAMP)
    for dotted, value in values.items():
        *path, last = dotted.split("__")
        target = stamp
        for key in path:
            target = target[key]
        target[last] = value
    return stamp


def test_the_same_recipe_says_nothing():
    assert require_same_run(STAMP, copy.deepcopy(STAMP), where="c") == []


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"recipe__training__learning_rate": 1e-4}, "training.learning_rate"),
        ({"recipe__training__num_train_epochs": 5}, "training.num_train_epochs"),
        ({"recipe__data__augment": ["rotation"]}, "data.augment"),
        ({"recipe__engine": "accelerate"}, "engine"),
        ({"recipe__data__path": "/moved/data"}, "data.path"),
        ({"recipe__early_stopping": {"patience": 2}}, "early_stopping.patience"),
        ({"recipe__training__output_dir": "runs/b"}, "training.output_dir"),
        ({"recipe__task": SAME | {"max_tokens_per_second": 40}}, "task.max_tokens_per_second"),
        ({"recipe__task": SAME | {"allow_cut_off": True}}, "task.allow_cut_off"),
    ],
)
def test_applied(values, key):
    notes = require_same_run(STAMP, changed(**values), where="c")
    assert any(note.startswith(f"{key}:") and "applied: " in note for note in notes)


def test_another_secret_is_no_other_run(monkeypatch):
    """Also where an older version has kept the secret, and where the environment has forgotten it."""
    monkeypatch.setenv("SERVICE_TOKEN", "planted-old-value")
    loss = {"name": "mine", "url": "https://h/x?sig=planted-old&v=1", "tag": "a-planted-old-value"}
    old = changed(recipe__loss=hide_in(loss))
    assert "planted" not in str(old)
    monkeypatch.delenv("SERVICE_TOKEN")
    for stamp in (old, changed(recipe__loss=loss)):
        new = loss | {"url": "https://h/x?sig=planted-new&v=1"}
        assert require_same_run(stamp, changed(recipe__loss=new), where="c") == []
    with pytest.raises(CheckpointError, match=r"loss\.url: .*v=1' -> .*v=2', refused") as caught:
        require_same_run(
            old, changed(recipe__loss=new | {"url": "https://h/x?sig=planted-new&v=2"}), where="c"
        )
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"recipe__training__seed": 1}, "training.seed"),
        ({"recipe__training__optim": "sgd"}, "training.optim"),
        ({"recipe__training__lr_scheduler_type": "cosine"}, "training.lr_scheduler_type"),
        ({"recipe__training__warmup_steps": 9}, "training.warmup_steps"),
        ({"recipe__training__per_device_train_batch_size": 4}, "global batch"),
        ({"num_processes": 2}, "global batch"),
        ({"recipe__training__metric_for_best_model": "f1"}, "training.metric_for_best_model"),
        ({"recipe__training__bf16": True}, "training.bf16"),
        ({"recipe__model__checkpoint": "org/other"}, "model.checkpoint"),
        ({"recipe__task": "audio-classification"}, "task.name"),
        ({"fingerprint": "xyz"}, "fingerprint"),
        ({"fingerprint": "xyz", "recipe__data__holdout": 0.2}, "data.holdout"),
    ],
)
def test_refused_with_the_reason_and_the_way_on(values, key):
    with pytest.raises(CheckpointError) as caught:
        require_same_run(STAMP, changed(**values), where="runs/a/checkpoint-5")
    text = str(caught.value)
    assert f"\n  {key}: " in text
    assert "refused: " in text
    assert "\nStart anew by --overwrite" in text
    assert text.startswith("runs/a/checkpoint-5: ")
    assert "--overwrite" in text


def test_a_stamp_knows_every_argument_but_the_secrets():
    recipe = load_recipe(SMOKE / "image-classification.yaml", [])
    stamp = build_stamp(recipe, TrainingArguments(hub_token="none"), "abc")
    known = stamp["recipe"]["training"].keys()
    assert {"average_tokens_across_devices", "include_num_input_tokens_seen"} <= known
    assert not any(key.endswith("_token") for key in known)


def test_every_refused_key_is_named_at_once():
    with pytest.raises(CheckpointError) as caught:
        require_same_run(STAMP, changed(recipe__training__seed=1, recipe__training__optim="sgd"), where="c")
    assert "training.seed" in str(caught.value)
    assert "training.optim" in str(caught.value)


def test_the_same_rows_per_update_on_two_processes_are_the_same_run():
    notes = require_same_run(
        STAMP, changed(num_processes=2, recipe__training__per_device_train_batch_size=4), where="c"
    )
    assert any(note.startswith("num_processes: 1 -> 2, applied") for note in notes)
    assert all("the same 16 rows" in note for note in notes)


@pytest.mark.parametrize(
    ("training", "change", "key"),
    [
        ({"average_tokens_across_devices": False}, {"per_device_train_batch_size": 4}, "num_processes"),
        ({"dataloader_drop_last": True}, {"gradient_accumulation_steps": 1}, "rows of a round"),
    ],
)
def test_another_number_of_processes_is_refused_where_it_would_show(training, change, key):
    old, new = copy.deepcopy(STAMP), changed(num_processes=2)
    old["recipe"]["training"] |= training
    new["recipe"]["training"] |= training | change
    with pytest.raises(CheckpointError, match=f"\n  {key}: .* refused: "):
        require_same_run(old, new, where="c")


def test_dropping_the_last_rows_goes_with_another_number_of_processes():
    old = changed(recipe__training__dataloader_drop_last=True)
    new = copy.deepcopy(old) | {"num_processes": 2}
    new["recipe"]["training"]["per_device_train_batch_size"] = 4
    assert any(note.startswith("num_processes: 1 -> 2") for note in require_same_run(old, new, where="c"))


def test_another_device_is_said_and_applied():
    (note,) = require_same_run(STAMP, changed(device="NVIDIA H200"), where="c")
    assert note.startswith("device: 'cpu' -> 'NVIDIA H200', applied: its kernels round otherwise")
    unknown = {key: value for key, value in STAMP.items() if key != "device"}  # checkpoints of before
    assert require_same_run(unknown, STAMP, where="c") == []


def test_no_difference_is_ignored():
    """Whatever key changes, there is an answer for it."""
    for key in STAMP["recipe"]["training"]:
        stamp = changed(**{f"recipe__training__{key}": "other" if key not in BATCH else 4})
        assert len(compare_stamps(STAMP, stamp)) == 1, key


def stamp_of(*overrides):
    recipe = load_recipe(SMOKE / "image-classification.yaml", list(overrides))
    training = {"learning_rate": 1e-3, **recipe.training}  # as filled with defaults
    args = TrainingArguments(**{key: value for key, value in training.items() if "metric" not in key})
    return build_stamp(recipe.model_copy(update={"training": training}), args, "abc")


def without(stamp, dotted):
    less = json.loads(json.dumps(stamp))
    *path, last = dotted.split(".")
    section = less["recipe"]
    for key in path:
        section = section[key]
    del section[last]
    return less


@pytest.mark.parametrize(
    "key",
    [
        "training.use_liger_kernel",
        "training.optim",
        "training.accelerator_config.even_batches",
        "data.bad_rows",
        "guard",
    ],
)
def test_a_key_that_only_one_version_knows_is_no_change_at_its_default(key):
    stamp = stamp_of()
    assert compare_stamps(without(stamp, key), stamp) == []  # a later version brought it
    assert compare_stamps(stamp, without(stamp, key)) == []  # a later version dropped it


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.neftune_noise_alpha=5", "training.neftune_noise_alpha"),
        ("training.accelerator_config={non_blocking: true}", "training.accelerator_config.non_blocking"),
        ("data.bad_rows=drop", "data.bad_rows"),
    ],
)
def test_a_key_that_only_one_version_knows_is_refused_where_it_was_set(override, key):
    stamp = stamp_of(override)
    for old, new in ((without(stamp, key), stamp), (stamp, without(stamp, key))):
        old = old | {"fingerprint": "other"}  # so that nothing of data is taken as the same
        assert [change.key for change in compare_stamps(old, new) if not change.is_applied] == [
            "fingerprint",
            key,
        ]


def test_a_dropped_argument_that_was_set_names_the_way_on():
    stamp = stamp_of("training.neftune_noise_alpha=5")
    with pytest.raises(
        CheckpointError, match="neftune_noise_alpha: 5 -> None, refused: this version knows no"
    ):
        require_same_run(stamp, without(stamp, "training.neftune_noise_alpha"), where="c")


def test_what_a_stamp_of_before_does_not_say_is_refused_unless_it_was_off():
    stamp = stamp_of()
    before = {key: value for key, value in stamp.items() if key != "not_default"}
    assert compare_stamps(before, stamp) == []
    assert compare_stamps(before, without(stamp, "training.use_liger_kernel")) == []
    (change,) = compare_stamps(before, without(stamp, "training.max_grad_norm"))
    assert change.is_applied
    (change,) = compare_stamps(before, without(stamp, "training.optim"))
    assert not change.is_applied


def test_another_default_of_another_version_is_said():
    old, new = stamp_of(), stamp_of()
    old["recipe"]["training"]["adam_beta2"] = 0.95
    new["recipe"]["training"]["average_tokens_across_devices"] = False
    applied, refused = compare_stamps(old, new)
    assert str(applied).startswith(
        "training.adam_beta2: 0.95 -> 0.999, applied: from here on; neither recipe says"
    )
    assert str(refused).endswith("write the old value to keep it")


def test_a_section_that_is_switched_on_is_no_unknown_key():
    for change in ("early_stopping={}", "tracking.comet={}", "model.config={a: 1}"):
        assert compare_stamps(stamp_of(), stamp_of(change)), change
        assert compare_stamps(stamp_of(change), stamp_of()), change


BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")
