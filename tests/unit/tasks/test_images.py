"""Images of every mode come out as upright RGB."""

import io

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers.image_utils import load_image

from hf_finetune.tasks.images import RAW_PIXELS, build_image_preparation, decode_image, rank_image, to_rgb
from hf_finetune.usage import show_usage

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, axis=2)


def test_rgb_is_left_alone():
    assert (decode_image(file(Image.fromarray(COLOURS))) == COLOURS).all()


def test_grey_is_repeated():
    assert (decode_image(file(Image.fromarray(RAMP))) == grey(RAMP)).all()


def test_black_and_white():
    bits = Image.fromarray(RAMP).point(lambda level: 255 * (level > 127)).convert("1")
    assert set(np.unique(decode_image(file(bits)))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled(kind):
    wide = RAMP.astype(np.uint16) * 257
    assert (decode_image(file(Image.fromarray(wide), kind)) == grey(RAMP)).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_range_are_refused(dtype):
    with pytest.raises(ValueError, match=r"has no known range of values; save it with 8 or 16 bits"):
        decode_image(file(Image.fromarray(RAMP.astype(dtype)), "TIFF"))


def test_transparency_is_laid_on_white():
    alpha = np.full((16, 16, 1), 255, np.uint8)
    alpha[:8] = 0
    decoded = decode_image(file(Image.fromarray(np.concatenate([COLOURS, alpha], axis=2))))
    assert (decoded[:8] == 255).all()
    assert (decoded[8:] == COLOURS[8:]).all()


def test_transparent_grey():
    decoded = decode_image(file(Image.fromarray(np.stack([RAMP, RAMP], axis=2), "LA")))
    assert (decoded[0, 0] == 255).all()
    assert (decoded[15, 15] == 255).all()


def test_palettes():
    picture = Image.fromarray(COLOURS).quantize(256)
    assert (decode_image(file(picture)) == np.asarray(picture.convert("RGB"))).all()
    first = picture.getpixel((0, 0))
    clear = decode_image(file(picture, transparency=first))
    assert (clear[0, 0] == 255).all()


def test_cmyk():
    decoded = decode_image(file(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", quality=95))
    assert decoded.shape == (16, 16, 3)


def test_turned_by_exif():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    wide = Image.fromarray(np.tile(RAMP, (1, 2)))
    assert decode_image(file(wide, "PNG", exif=exif)).shape == (32, 16, 3)


def test_first_picture_of_an_animation():
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1])]
    decoded = decode_image(file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert decoded.shape == (16, 16, 3)


@pytest.mark.parametrize(
    "value", ["a.png", {"path": "sub/a.png", "bytes": None}, {"path": "x", "bytes": b"!"}]
)
def test_files_bytes_and_both(value, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    Image.fromarray(COLOURS).save(tmp_path / "sub" / "a.png")
    monkeypatch.chdir(tmp_path)
    if isinstance(value, dict) and value["bytes"]:
        value = {**value, "bytes": file(Image.fromarray(COLOURS))}
    assert (decode_image(value, ["nowhere", "sub"]) == COLOURS).all()


def test_preparation_and_reading_back():
    side = int(RAW_PIXELS**0.5) + 1
    values = [file(Image.fromarray(COLOURS)), b"no image", None, file(Image.new("RGB", (side, side)))]
    preparation = build_image_preparation(())
    columns = preparation.function(values)
    assert columns["problem"][0] is None
    assert columns["problem"][1] == "not an image file"
    assert columns["problem"][2] == "there is no image (null)"
    assert columns["pixels"][0] == COLOURS.tobytes()
    assert columns["pixels"][3] is None
    assert len({columns["digest"][i] for i in (0, 1, 3)}) == 3

    import datasets

    good = {name: [column[0], column[3]] for name, column in columns.items()}
    table = datasets.Dataset.from_dict(good, features=preparation.features).with_format("arrow")[:]
    asked = []
    rows = preparation.read(table, lambda positions: asked.extend(positions) or [values[3]])
    assert asked == [1]
    assert (rows[0]["image"] == COLOURS).all()
    assert rows[1]["image"].shape == (side, side, 3)


def test_which_column_holds_images():
    import datasets

    text = datasets.Value("string")
    assert rank_image("image", datasets.Image(), {}) == 0
    assert rank_image("photo", datasets.Image(), {}) == 1
    assert rank_image("photo", text, "cats/1.JPG") == 2
    assert rank_image("photo", datasets.Value("binary"), b"") == 3
    assert rank_image("image", text, "a cat") is None


def test_nothing_else_is_touched():
    picture = Image.fromarray(COLOURS)
    assert to_rgb(picture) is picture


def transparent_palette():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 250, 20, 90])
    image.info["transparency"] = 1
    return image


ODD_PICTURES = {
    "rgba.png": lambda: Image.fromarray(np.arange(64, dtype=np.uint8).reshape(4, 4, 4) * 4, "RGBA"),
    "la.png": lambda: Image.new("LA", (4, 4), (40, 100)),
    "palette.png": transparent_palette,
    "rgb.png": lambda: Image.new("RGB", (4, 4), (9, 200, 3)),
    "wide.png": lambda: Image.fromarray((np.arange(16, dtype=np.uint16) * 4000).reshape(4, 4)),
    "wide.tif": lambda: Image.fromarray((np.arange(16, dtype=np.uint16) * 4000).reshape(4, 4)),
    "bits.png": lambda: Image.new("1", (4, 4), 1),
    "cmyk.jpg": lambda: Image.new("CMYK", (4, 4), (10, 200, 30, 40)),
}


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
@pytest.mark.parametrize("name", [*ODD_PICTURES, "turned.jpg", "colour_key.png"])
def test_the_snippet_of_card_and_report_gives_a_pipeline_the_pixels_of_training(name, tmp_path, monkeypatch):
    """Run as it stands, up to what `pipeline` does to a picture first."""
    monkeypatch.chdir(tmp_path)
    if name == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.arange(96, dtype=np.uint8).reshape(4, 8, 3), "RGB").save(name, exif=exif)
    elif name == "colour_key.png":
        Image.new("RGB", (4, 4), (1, 2, 3)).save(name, transparency=(1, 2, 3))
    else:
        ODD_PICTURES[name]().save(name)
    seen = []

    def pipeline(*_, **__):
        return lambda picture: seen.append(load_image(picture))

    monkeypatch.setitem(vars(transformers), "pipeline", pipeline)
    exec(show_usage("image-classification", "run/best").replace("picture.png", name), {})
    assert np.array_equal(np.asarray(seen[0]), decode_image(name))
    changes = not np.array_equal(np.asarray(load_image(name)), decode_image(name))
    assert changes == (
        name in {"rgba.png", "la.png", "palette.png", "wide.png", "wide.tif", "colour_key.png"}
    )
