"""Rows that are parts of long files: exactly these parts, or one clear message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

from hf_finetune.data import build_datasets
from hf_finetune.errors import DataError
from hf_finetune.predicting.inputs import find_inputs
from hf_finetune.recipe import load_recipe
from hf_finetune.tasks import TASKS
from hf_finetune.tasks.audio import ClipLimits, build_audio_preparation, decode_cut
from hf_finetune.tasks.audio_cuts import CUT, Cut, OpenSound

RATE, OTHER = 16000, 22050
SECONDS = 30


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> dict[str, tuple[Path, np.ndarray, int]]:
    """Return files of each kind, 30 s that are nowhere alike, with what is in them as decoded whole."""
    folder = tmp_path_factory.mktemp("sounds")
    found = {}
    for name, rate, subtype in (
        ("a.wav", RATE, "PCM_16"),
        ("other.wav", OTHER, "PCM_16"),
        ("b.flac", OTHER, None),
        ("c.mp3", RATE, None),
        ("d.ogg", OTHER, "VORBIS"),
        ("e.opus", RATE, "OPUS"),
    ):
        time = np.arange(SECONDS * rate) / rate
        noise = np.random.default_rng(len(found)).standard_normal(len(time))
        clip = (0.3 * np.sin(2 * np.pi * (200 + 20 * time) * time) + 0.05 * noise).astype(np.float32)
        kind = "OGG" if name.endswith(("ogg", "opus")) else None
        with soundfile.SoundFile(folder / name, "w", rate, 1, subtype=subtype, format=kind) as file:
            for start in range(0, len(clip), 4096):  # libsndfile breaks down over a long vorbis at once
                file.write(clip[start : start + 4096])
        found[name] = folder / name, OpenSound(str(folder / name)).read(), rate
    return found


@pytest.fixture
def here(tmp_path, monkeypatch, sounds) -> Path:
    """Return a folder with two of the files."""
    for name in ("a.wav", "other.wav"):
        shutil.copy(sounds[name][0], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_table(folder: Path, rows: list[dict], name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def load(folder: Path, columns: dict | None = None, **options):
    data = {"path": "rows.jsonl", "columns": columns or {}, **options.pop("data", {})}
    tree = {
        "task": {"name": "audio-classification", **options},
        "model": {"checkpoint": "none/needed"},
        "data": data,
        "training": {"output_dir": "run"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return load_recipe(folder / "recipe.yaml")


def build(recipe):
    task = TASKS.get(recipe.task.name)(recipe.task)
    processor = SimpleNamespace(sampling_rate=RATE, padding_value=0.0, model_input_names=["input_values"])
    task.build_transform = task.build_eval_transform = lambda processor, samples=(): lambda rows: {}
    return build_datasets(recipe, task, processor, seed=0)


def clips(splits) -> dict[int, np.ndarray]:
    """Return row -> its decoded clip, of training and evaluation."""
    rows = [splits.raw(name)[i] for name in ("train", "eval") for i in range(splits.sizes[name])]
    return {row["row"]: row["audio"] for row in rows}


STARTS = [3.5, 20.0, 0.0, 11.25, 3.5, 8.125]


def manifest(file: str = "a.wav", **names: str) -> list[dict]:
    """Return six rows of half a second to 1.75 s, in no order; two classes."""
    key = {"audio": "audio", "start": "start", "duration": "duration", **names}
    return [
        {
            key["audio"]: file,
            key["start"]: start,
            key["duration"]: 0.5 + 0.25 * i,
            "label": "ab"[i % 2],
        }
        for i, start in enumerate(STARTS)
    ]


@pytest.mark.parametrize("name", ["a.wav", "other.wav", "b.flac", "c.mp3", "d.ogg", "e.opus"])
def test_a_cut_is_the_part_of_the_whole_to_the_sample(name, sounds):
    path, whole, rate = sounds[name]
    starts = np.random.default_rng(0).integers(0, (SECONDS - 1) * rate, 20)
    for start in (*starts, 0, 1, *sorted(starts)):  # forwards and back
        cut = Cut({"path": str(path)}, {"start": int(start), "duration": 800})
        clip, found_rate, _ = decode_cut(cut, unit="samples")
        assert found_rate == rate
        tolerance = 3e-7 if name == "c.mp3" else 0  # the last bit of its decoder's float
        np.testing.assert_allclose(clip, whole[start : start + 800], atol=tolerance)
    clip, *_ = decode_cut(Cut({"path": str(path)}, {"start": 29.5}))
    assert len(clip) == len(whole) - round(29.5 * rate)


def test_a_long_file_is_decoded_about_once(sounds, monkeypatch):
    read = []
    original = soundfile.SoundFile.read

    def count(self, frames=-1, *words, **kwargs):
        clip = original(self, frames, *words, **kwargs)
        read.append(len(clip))
        return clip

    for name in ("a.wav", "d.ogg", "c.mp3"):
        path, whole, rate = sounds[name]
        starts = np.random.default_rng(1).permutation(np.arange(0, SECONDS - 1, 0.1))  # 290 in no order
        values = [{"path": str(path), CUT: {"start": start, "duration": 0.2}} for start in starts]
        preparation = build_audio_preparation((), sampling_rate=rate)
        read.clear()
        monkeypatch.setattr(soundfile.SoundFile, "read", count)
        table = preparation.function(values)
        monkeypatch.setattr(soundfile.SoundFile, "read", original)
        assert table["problem"] == [None] * len(values)
        most = {"a.wav": 290 * 0.2, "d.ogg": SECONDS, "c.mp3": SECONDS}[name]
        assert sum(read) <= most * rate * 1.01, name
        one = np.frombuffer(table["samples"][5], np.int16) * table["scale"][5]
        at = round(starts[5] * rate)
        np.testing.assert_allclose(one, whole[at : at + len(one), 0], atol=4e-5)


@pytest.mark.parametrize("last", ["duration", "end"])
@pytest.mark.parametrize("unit", ["seconds", "samples"])
def test_rows_are_the_parts_that_the_table_says(here, sounds, last, unit):
    rows = manifest("other.wav")
    scale = OTHER if unit == "samples" else 1
    wanted = [(round(row["start"] * OTHER), round(row["duration"] * OTHER)) for row in rows]
    for row in rows:
        row["end"] = row["start"] + row["duration"]
        row |= {name: row[name] * scale for name in ("start", "duration", "end")}
        if unit == "samples":
            row |= {name: round(row[name]) for name in ("start", "duration", "end")}
    write_table(here, rows)
    splits = build(load(here, {"start": "start", last: last}, time_unit=unit))
    found, whole = clips(splits), sounds["other.wav"][1][:, 0]
    for row, (start, count) in enumerate(wanted):
        assert len(found[row]) == pytest.approx(count * RATE / OTHER, abs=2)
        middle = whole[start : start + count][count // 4 : -count // 4]
        heard = np.interp(
            np.arange(count // 4, count - count // 4) * RATE / OTHER, np.arange(len(found[row])), found[row]
        )
        assert np.corrcoef(middle, heard[: len(middle)])[0, 1] > 0.8
    lengths = np.concatenate([splits.raw(name).lengths() for name in ("train", "eval")])
    assert lengths.max() < 2 * RATE, "lengths are of the cuts"


def test_the_cut_is_exact_at_the_rate_of_the_file(here, sounds):
    write_table(here, manifest())
    found = clips(build(load(here, {"start": "start", "duration": "duration"})))
    whole = sounds["a.wav"][1][:, 0]
    for row, start in enumerate(STARTS):
        at, count = round(start * RATE), round((0.5 + 0.25 * row) * RATE)
        np.testing.assert_array_equal(found[row], whole[at : at + count])


def test_a_manifest_of_nemo_is_known_by_its_columns(here, sounds):
    write_table(here, manifest(audio="audio_filepath", start="offset"))
    recipe = load(here)
    splits = build(recipe)
    assert splits.columns == {
        "audio": "audio_filepath",
        "label": "label",
        "start": "offset",
        "duration": "duration",
    }
    np.testing.assert_array_equal(clips(splits)[2], sounds["a.wav"][1][:RATE, 0])
    # predictions cut the same way, and say which part a row is
    inputs = find_inputs(["rows.jsonl"], recipe, TASKS.get("audio-classification")(recipe.task))
    ((names, values),) = inputs.batches(10)
    assert names[1] == {"row": 1, "file": "a.wav", "start": 20.0, "duration": 0.75}
    preparation = build_audio_preparation(inputs.folders, sampling_rate=RATE)
    assert preparation.function(values)["length"] == [round((0.5 + 0.25 * i) * RATE) for i in range(6)]


def test_whole_files_stay_as_they_are(here):
    rows = [{"audio_filepath": "a.wav", "label": label} for label in "abab"]
    write_table(here, rows)
    plain = build(load(here))
    for changes in ({"duration": 30.0}, {"duration": 29.99, "offset": 0}, {"offset": 0.0, "duration": 30}):
        write_table(here, [row | changes for row in rows])
        same = build(load(here))
        assert len(clips(same)[0]) == SECONDS * RATE
        assert same.raw("train").lengths().tolist() == plain.raw("train").lengths().tolist()


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ({"start": 31.0, "duration": 1.0}, "the start (31) lies at or behind the end of the file (30 s)"),
        ({"start": -1.0, "duration": 1.0}, "the start is negative: -1"),
        ({"start": float("nan"), "duration": 1.0}, "the start is"),
        ({"start": None, "duration": 1.0}, "the start is missing (null)"),
        ({"start": 1.0, "duration": 0.0}, "the duration is 0, and must be above 0"),
        ({"start": 1.0, "duration": -2.0}, "the duration is -2"),
        ({"start": 29.5, "duration": 1.0}, "(start: 29.5, duration: 1) runs past the end of the file (30 s)"),
        ({"start": 1.0, "duration": 0.05}, "0.05 s is shorter than min_seconds: 0.1"),
        ({"start": 1.0, "duration": 12.0}, "12 s is longer than max_seconds: 10"),
    ],
)
def test_a_part_that_is_not_there_is_a_bad_row(here, bounds, told):
    write_table(here, [*manifest(), {"audio": "a.wav", "label": "a", **bounds}])
    recipe = load(here, {"start": "start", "duration": "duration"}, max_seconds=10.0)
    with pytest.raises(DataError, match=r"1 unusable row: train row 6: a\.wav: ") as error:
        build(recipe)
    assert told in str(error.value)


def test_an_end_before_the_start_and_half_a_sample():
    def problem(unit="seconds", **bounds):
        cut = {"array": np.ones(RATE), "sampling_rate": RATE, CUT: bounds}
        preparation = build_audio_preparation((), sampling_rate=RATE, limits=ClipLimits(), time_unit=unit)
        return str(preparation.function([cut])["problem"][0])

    assert "the end (0.25) is not behind the start (0.5)" in problem(start=0.5, end=0.25)
    assert "no whole number of samples" in problem("samples", start=0.5, end=8000)
    assert "end: 1.1) runs past the end" in problem(start=0.5, end=1.1)
    assert problem(start=0.5, end=1.005) == "None", "the table's rounding"


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (
            manifest(start="begin"),
            {},
            r"recipe\.yaml:\d+:\d+: is each row a part of its file\? 'begin' look.*"
            r"\{columns: \{start: begin, duration: duration\}\}; or \{start: null\}",
        ),
        ([row | {"end": 25.0} for row in manifest()], {}, r"'start' and 'end'.*start: start, end: end"),
        (
            [{"audio": "a.wav", "duration": 2.5, "label": x} for x in "abab"],
            {},
            r"train row 0: the column 'duration' says 2\.5, and the file has 30 s.*\{duration: duration\}",
        ),
        (
            [row | {"end": 25.0} for row in manifest()],
            {"start": "start", "duration": "duration", "end": "end"},
            r"'duration' \(duration\) and 'end' \(end\) say the same",
        ),
        (
            [row | {"start": "3 s"} for row in manifest()],
            {"start": "start", "duration": "duration"},
            r"the column 'start' \(start\) holds text, not numbers",
        ),
        *(
            (
                [
                    {"audio": "a.wav", start: at, end: to, "label": x}
                    for at, to, x in zip("12", "34", "ab", strict=True)
                ],
                {},
                f"'{start}' and '{end}' look.*Write '{start}' and '{end}' as numbers of seconds first",
            )
            for start, end in (("start", "end"), ("start_ms", "end_ms"), ("begin_time", "segment_end"))
        ),
        (manifest(), {"label": None}, "data.columns.label is null"),
        (
            [{"id": "x", "start": 1.0, "recording": {"sources": [{"source": "a.wav"}]}, "supervisions": []}],
            {},
            "a manifest of Lhotse.*'recording'.*Write it flat",
        ),
    ],
)
def test_what_is_not_understood_is_refused(here, rows, columns, message):
    write_table(here, rows)
    with pytest.raises(DataError, match=message):
        build(load(here, columns))


def test_the_advice_works(here):
    write_table(here, manifest(start="begin"))
    assert len(clips(build(load(here, {"start": "begin", "duration": "duration"})))[0]) == RATE // 2
    assert len(clips(build(load(here, {"start": None})))[0]) == SECONDS * RATE
    write_table(here, [{"audio": "a.wav", "duration": 2.5, "label": x} for x in "abab"])
    assert len(clips(build(load(here, {"duration": "duration"})))[0]) == 2.5 * RATE
    assert len(clips(build(load(here, {"duration": None})))[0]) == SECONDS * RATE


def test_other_bounds_are_other_rows_in_the_cache(here):
    write_table(here, manifest())
    first = build(load(here, {"start": "start", "duration": "duration"}))
    write_table(here, [row | {"start": row["start"] + 1} for row in manifest()])
    second = build(load(here, {"start": "start", "duration": "duration"}))
    assert first.fingerprint != second.fingerprint
    assert not np.array_equal(clips(first)[0], clips(second)[0])


def test_a_table_to_predict_says_which_part_a_row_is(here):
    recipe = load(here, {"start": "begin", "duration": "length_s"})
    task = TASKS.get("audio-classification")(recipe.task)

    def read(*rows, recipe=recipe, column=None):
        inputs = find_inputs([str(write_table(here, list(rows), "new.jsonl"))], recipe, task, column=column)
        return next(inputs.batches(9))[0]

    row = {"audio": "a.wav", "begin": 1.5, "length_s": 2.0}
    assert read(row) == [{"row": 0, "file": "a.wav", "start": 1.5, "duration": 2.0}]
    assert read({"audio": "a.wav"}) == [{"row": 0, "file": "a.wav"}], "whole files"
    with pytest.raises(DataError, match=r"a column 'begin' and none 'length_s'.*--column start="):
        read({"audio": "a.wav", "begin": 1.5})
    assert read({"audio": "a.wav", "begin": 1.5}, column="start=") == [{"row": 0, "file": "a.wav"}]
    plain = load(here)
    with pytest.raises(DataError, match=r"--column audio=audio,start=start,end=end; or by --column start= "):
        read({"audio": "a.wav", "start": 1.5, "end": 2.0}, recipe=plain)
    row = {"audio": "a.wav", "start": 1.5, "end": 2.0}
    said = read(row, recipe=plain, column="audio=audio,start=start,end=end")
    assert said == [{"row": 0, "file": "a.wav", "start": 1.5, "end": 2.0}]
    with pytest.raises(DataError, match="'begin' is no role of a column here"):
        read(row, column="audio=audio,begin=begin")
