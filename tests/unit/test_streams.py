"""The command's own output: nobody reads it, no room for it, letters it lacks; and a home without room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_finetune.cache_folders import FOLDERS, use_writable_caches
from hf_finetune.streams import _HidingStream, unhidden

COMMAND = [sys.executable, "-m", "hf_finetune"]


def start(words: list[str], **options) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
    )


@pytest.mark.parametrize("words", [["schema"], ["--help"]])
def test_a_reader_that_goes_ends_the_command_quietly(words):
    with start(words) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_an_output_without_room_is_named():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "schema"], stdout=full, stderr=subprocess.PIPE, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output cannot be written: No space left on device.")


@pytest.mark.parametrize("more", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii:strict"}])
def test_any_name_can_be_shown_anywhere_and_no_secret(tmp_path, more):
    recipe = tmp_path / "grün\x1b[31m.yaml"
    recipe.write_text("{}\n")
    environment = os.environ | {"SERVICE_TOKEN": "planted-secret"} | more
    process = start(["check", str(recipe), "data.path=planted-secret", "--schema-only"], env=environment)
    out, err = process.communicate()
    assert process.returncode == 2
    assert "this key is needed" in err
    assert ("gr\\xfcn" if "ascii" in str(more) else "grün") in err
    assert "\x1b" not in err
    assert "planted-secret" not in out + err


def test_data_go_out_as_they_are_and_messages_without_secrets(tmp_path):
    with open(tmp_path / "out", "wb") as file:
        stream = _HidingStream(file, encoding="utf-8")
        unhidden(stream).write('{"text": "cookie: two cups"}\n')
        stream.write("cookie: planted\n")
        stream.flush()
        assert (tmp_path / "out").read_text() == '{"text": "cookie: two cups"}\ncookie: (hidden)\n'


@pytest.fixture
def environment(tmp_path, monkeypatch):
    for name in (*FOLDERS, "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # put back afterwards, also where the code has set it
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return monkeypatch


def test_a_home_that_cannot_be_written_is_said_once_and_left_alone(tmp_path, environment, caplog):
    (tmp_path / "home").write_text("a file")
    environment.setenv("HOME", str(tmp_path / "home"))
    use_writable_caches()
    other = tmp_path / f"hf-finetune-{os.getuid()}"
    assert {name: os.environ[name] for name in FOLDERS} == {n: str(other / f) for n, f in FOLDERS.items()}
    assert os.environ["HF_HOME"] == str(other)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/home/.cache/huggingface cannot be written: caches go to {other}; "
        "HF_HOME names another folder"
    ]


def test_a_home_that_can_be_written_and_a_filled_cache_stay(tmp_path, environment, caplog):
    environment.setenv("HF_HOME", str(tmp_path / "hf"))
    use_writable_caches()
    assert not any(os.environ[name] for name in FOLDERS)
    (tmp_path / "hf" / "hub").mkdir()
    environment.setattr("os.access", lambda path, mode: "hf-finetune-" in str(path))
    use_writable_caches()
    assert not os.environ["HF_HUB_CACHE"]
    assert os.environ["HF_HOME"] == str(tmp_path / "hf")
    assert Path(os.environ["HF_DATASETS_CACHE"]).parent == tmp_path / f"hf-finetune-{os.getuid()}"
    assert json.dumps(str(tmp_path / "hf"))[1:-1] in caplog.text
