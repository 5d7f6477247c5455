"""Every registered augmentation is a pure function of the row and the generator, and checks its options."""

import numpy as np
import pytest

from hf_finetune.augment import AUGMENTATIONS, build_augment
from hf_finetune.augment.policies import CHANGES, SIGNED, UNSIGNED, WIDE
from hf_finetune.errors import UserError
from hf_finetune.recipe import NamedSpec


def make_row(seed=0, height=24, width=32):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels.flags.writeable = False  # as they come from the cache
    return {"image": pixels, "other": "kept"}


def generator(seed):
    return np.random.default_rng(seed)


OF_IMAGES = [name for name in AUGMENTATIONS.names() if AUGMENTATIONS.get(name).modality == "image"]


@pytest.mark.parametrize("name", OF_IMAGES)
def test_pure(name):
    augment = AUGMENTATIONS.build(name, {})
    for seed in range(20):
        row = make_row()
        once, again = augment(row, generator(seed)), augment(make_row(), generator(seed))
        assert (once["image"] == again["image"]).all()
        assert (row["image"] == make_row()["image"]).all()
        assert once["image"].dtype == np.uint8
        assert once["image"].shape[2] == 3
        assert once["other"] == "kept"
        if name != "random_resized_crop":
            assert once["image"].shape == row["image"].shape


@pytest.mark.parametrize("name", OF_IMAGES)
def test_seeds_differ(name):
    augment = AUGMENTATIONS.build(name, {})
    results = {augment(make_row(), generator(seed))["image"].tobytes() for seed in range(30)}
    assert len(results) >= 2


def test_nothing_is_drawn_from_elsewhere():
    augment = build_augment([NamedSpec(name=name) for name in OF_IMAGES], modality="image", where=str)
    before = np.random.get_state()[1].copy()
    augment(make_row(), generator(0))
    assert (np.random.get_state()[1] == before).all()


def test_flips():
    row = make_row()
    flipped = {name: AUGMENTATIONS.build(f"{name}_flip", {"p": 1}) for name in ("horizontal", "vertical")}
    assert (flipped["horizontal"](row, generator(0))["image"] == row["image"][:, ::-1]).all()
    assert (flipped["vertical"](row, generator(0))["image"] == row["image"][::-1]).all()
    never = AUGMENTATIONS.build("horizontal_flip", {"p": 0})
    assert (never(row, generator(0))["image"] == row["image"]).all()


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("padding", [1, 5, 40])
def test_random_crop_shifts(mode, padding):
    row = make_row()
    augment = AUGMENTATIONS.build("random_crop", {"padding": padding, "mode": mode, "fill": 7})
    width = [(padding, padding)] * 2 + [(0, 0)]
    options = {"constant_values": 7} if mode == "constant" else {}
    padded = np.pad(row["image"], width, mode=mode, **options)
    for seed in range(10):
        cropped = augment(row, generator(seed))["image"]
        windows = np.lib.stride_tricks.sliding_window_view(padded, cropped.shape)[:, :, 0]
        assert (windows == cropped).all(axis=(2, 3, 4)).any()


def test_random_crop_reaches_every_shift():
    row = {"image": np.arange(25, dtype=np.uint8).repeat(3).reshape(5, 5, 3)}
    augment = AUGMENTATIONS.build("random_crop", {"padding": 1})
    centres = {int(augment(row, generator(seed))["image"][2, 2, 0]) for seed in range(200)}
    assert centres == {6, 7, 8, 11, 12, 13, 16, 17, 18}


def test_random_resized_crop_keeps_to_its_ranges():
    augment = AUGMENTATIONS.build("random_resized_crop", {"scale": [0.25, 0.5], "ratio": [0.5, 2]})
    row = make_row(height=100, width=80)
    for seed in range(100):
        height, width = augment(row, generator(seed))["image"].shape[:2]
        assert 0.24 < height * width / 8000 < 0.51
        assert 0.48 < width / height < 2.1


def test_random_resized_crop_falls_back_to_the_middle():
    augment = AUGMENTATIONS.build("random_resized_crop", {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]})
    assert augment(make_row(height=10, width=100), generator(0))["image"].shape == (10, 10, 3)
    assert augment(make_row(height=100, width=10), generator(0))["image"].shape == (10, 10, 3)


@pytest.mark.parametrize("value", [9, "random"])
def test_random_erasing_paints_one_rectangle(value):
    row = {"image": np.full((40, 40, 3), 100, np.uint8)}
    augment = AUGMENTATIONS.build("random_erasing", {"p": 1, "scale": [0.1, 0.2], "value": value})
    changed = (augment(row, generator(3))["image"] != 100).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert 0.09 * 1600 < area < 0.21 * 1600
    assert changed.sum() > 0.95 * area


def test_color_jitter_of_nothing_changes_nothing():
    augment = AUGMENTATIONS.build("color_jitter", {"brightness": 0, "contrast": 0, "saturation": 0})
    assert (augment(make_row(), generator(0))["image"] == make_row()["image"]).all()


def test_hue_turns():
    augment = AUGMENTATIONS.build(
        "color_jitter", {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0.5}
    )
    red = {"image": np.full((4, 4, 3), (200, 0, 0), np.uint8)}
    hues = {tuple(augment(red, generator(seed))["image"][0, 0]) for seed in range(50)}
    assert len(hues) > 20
    assert all(max(colour) == 200 and min(colour) == 0 for colour in hues)


def test_rotation_of_nothing_changes_nothing():
    augment = AUGMENTATIONS.build("rotation", {"degrees": 0})
    assert (augment(make_row(), generator(0))["image"] == make_row()["image"]).all()


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_the_policies(name):
    from PIL import Image

    picture = Image.fromarray(make_row()["image"])
    for strength in (0.0, 0.5, 1.0):
        changed = {**SIGNED, **UNSIGNED}[name](picture, strength, WIDE)
        assert (changed.size, changed.mode) == (picture.size, "RGB")
        if strength == 0 and name not in ("autocontrast", "equalize"):
            assert (np.asarray(changed) == np.asarray(picture)).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "random_crop",
            {"padding": "four"},
            r"at data\.augment\.0\.padding: .*: padding must be a whole number fr",
        ),
        ("random_crop", {"padding": 0}, r"padding must be a whole number from 1 to 1024, got 0"),
        ("random_crop", {"padding": 2.5}, r"padding must be a whole number from 1 to 1024, got 2\.5"),
        ("random_crop", {"mode": "wrap"}, r"mode must be one of constant, edge, reflect, got 'wrap'"),
        ("random_crop", {"pading": 4}, r"has no option 'pading'\. Did you mean 'padding'\?"),
        ("horizontal_flip", {"p": 1.5}, r"p must be a number from 0 to 1, got 1\.5"),
        ("horizontal_flip", {"p": True}, r"p must be a number from 0 to 1, got True"),
        (
            "random_resized_crop",
            {"scale": 0.5},
            r"scale must be two ascending numbers from 0\.0001 to 1\.0, got 0",
        ),
        ("random_resized_crop", {"scale": [0.5, 0.1]}, r"scale must be two ascending numbers"),
        ("random_resized_crop", {"ratio": [1, 2, 3]}, r"ratio must be two ascending numbers"),
        ("rotation", {"degrees": 270}, r"degrees must be a number from 0 to 180, got 270"),
        ("color_jitter", {"hue": 0.6}, r"hue must be a number from 0 to 0\.5, got 0\.6"),
        ("rand_augment", {"magnitude": 31}, r"magnitude must be a whole number from 0 to 30, got 31"),
        ("random_erasing", {"value": "noise"}, r"value must be a whole number from 0 to 255, got 'noise'"),
        ("horizontal_flop", {}, r"unknown augmentation 'horizontal_flop'\. Did you mean 'horizontal_flip'\?"),
    ],
)
def test_messages(name, options, message):
    with pytest.raises(UserError, match=message):
        build_augment(
            [NamedSpec(name=name, options=options)], modality="image", where=lambda key: f"at {key}"
        )


def test_another_modality():
    with pytest.raises(UserError, match=r"'rotation' is for image, not for audio"):
        build_augment([NamedSpec(name="rotation")], modality="audio", where=str)


def test_nothing_to_do():
    assert build_augment([], modality="image", where=str) is None
