"""The token of the Hub and the key of Comet: in no file, no archive, no card, no log and no traceback.

Both are drawn when a test runs: no file of the project has one.
"""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from localhub import Fault

SMOKE = str(Path(__file__).parents[2] / "recipes" / "smoke" / "image-classification.yaml")
TRACKED = ("tracking={comet: {mode: offline}}", "training.report_to=tensorboard")
HUB = "hub={repo_id: digits, strategy: checkpoint}"

TELLTALE = """\
import os

from hf_finetune.augment import AUGMENTATIONS

seen = []


@AUGMENTATIONS.register("telltale")
def build():
    def change(row, rng):
        seen.append(row)
        if len(seen) > 50:
            raise RuntimeError(f"not with {os.environ['HF_TOKEN']} and {os.environ['COMET_API_KEY']}")
        return row

    return change
"""


@pytest.fixture
def key() -> str:
    return secrets.token_hex(20)


@pytest.fixture
def start(command, key, tmp_path):
    """Run the smoke recipe with both secrets in the environment, and see that they get nowhere."""

    def run(*words: str, token: str = command.alice.token, run: str = "run", **more: str):
        given = [*TRACKED, f"training.output_dir={run}", *words]
        done = command("run", SMOKE, *given, HF_TOKEN=token, COMET_API_KEY=key, HF_DEBUG="1", **more)
        assert_nowhere([token, key], done, tmp_path)
        return done

    return run


def assert_nowhere(planted: list[str], done, folder: Path) -> None:
    """Look for secrets in what was said and in all files of a folder, those of the test's Hub among them."""
    said = {"standard output": done.stdout.encode(), "standard error": done.stderr.encode()}
    for place, content in [*said.items(), *list_contents(folder)]:
        for secret in planted:
            assert secret.encode() not in content, place
            assert secret[3:].encode() not in content, place


def list_contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, and what is in archives."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield from unpack(str(path.relative_to(folder)), path.read_bytes())


def unpack(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if zipfile.is_zipfile(io.BytesIO(content)) and not name.endswith(".pt"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for inner in archive.namelist():
                yield from unpack(f"{name}!{inner}", archive.read(inner))


@pytest.mark.parametrize("engine", ["trainer", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_a_run_that_is_tracked_and_pushed(hub, start, tmp_path, engine):
    done = start(HUB, f"engine={engine}")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    assert list(run.glob("tracking/comet/*.zip"))
    assert list(run.glob("tracking/tensorboard/events*"))
    assert {"report.html", "README.md"} <= {path.name for path in run.iterdir()}
    assert "last-checkpoint/optimizer.pt" in hub.store.repos["model", "alice/digits"].find("main").files


def test_the_search_finds_what_is_there(command, key, tmp_path):
    """In a file, in an archive in an archive, on the terminal."""
    done = command("--help")
    assert_nowhere([key], done, tmp_path)
    done.stderr = f"x{key}x"
    with pytest.raises(AssertionError, match="standard error"):
        assert_nowhere([key], done, tmp_path)
    done.stderr, inner = "", io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("messages.json", json.dumps([key]))
    with zipfile.ZipFile(tmp_path / "outer.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.zip", inner.getvalue())
    with pytest.raises(AssertionError, match=r"outer.zip!inner.zip!messages.json"):
        assert_nowhere([key], done, tmp_path)


@pytest.mark.parametrize(
    ("engine", "workers"), [("trainer", 0), pytest.param("accelerate", 1, marks=pytest.mark.slow)]
)
def test_a_defect_in_mid_training_that_tells_both(start, tmp_path, engine, workers):
    """The user's own augmentation raises with the secrets in its words: the traceback is without them."""
    (tmp_path / "own.py").write_text(TELLTALE)
    words = (f"imports=[{tmp_path / 'own.py'}]", "data.augment=[telltale]", f"engine={engine}")
    done = start(*words, f"training.dataloader_num_workers={workers}", HUB)
    assert done.returncode == 1
    assert "RuntimeError: not with (hidden) and (hidden)" in done.stderr
    assert "Traceback" in done.stderr
    assert (tmp_path / "run" / "log.jsonl").read_text()
    assert list((tmp_path / "run").glob("tracking/comet/*.zip"))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"status": 401}, "the Hub does not accept the token"),
        pytest.param({"status": 500}, "the Hub is out of order (status 500", marks=pytest.mark.slow),
        pytest.param({"drop": True}, "the connection to the Hub failed", marks=pytest.mark.slow),
    ],
    ids=["401", "500", "drop"],
)
def test_a_push_that_fails(hub, command, key, start, tmp_path, fault, told):
    """Training is done, then the Hub turns ill; the server's own words have the token in them."""
    again = {"X-Error-Message": f"bad credentials {command.alice.token} {key}"}
    headers = {} if "drop" in fault else {"headers": again}
    hub.fail(Fault(path="/commit/main", method="POST", times=1000, **fault, **headers))
    done = start("hub.repo_id=digits")
    assert done.returncode == 2
    text = " ".join(done.stderr.split())
    assert told in text
    assert "this finishes the push: hf-finetune push run" in text
    assert "Traceback" not in text
    assert (tmp_path / "run" / "best").is_dir()


@pytest.mark.slow
def test_a_token_that_the_hub_does_not_know(start):
    done = start("hub.repo_id=digits", token=f"hf_{secrets.token_hex(17)}", run="refused")
    assert done.returncode == 2
    assert "the Hub does not know the token" in done.stderr
