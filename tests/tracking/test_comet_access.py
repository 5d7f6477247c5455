"""Comet online: what is wrong is said within seconds, before anything is trained."""

import http.server
import secrets
import threading
import time
from contextlib import contextmanager

import pytest
from real_runs import command

ONLINE = "tracking={comet: {project: digits}}"
STALL_S = 20
"""comet_ml itself tries for 36 s."""


@contextmanager
def server(status: int, *, is_silent: bool = False):
    """Answer every request with a status; yield the address and the keys that were shown."""
    keys, done = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            keys.append(self.headers["Authorization"])
            if is_silent:
                done.wait(60)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/clientlib/", keys
    finally:
        done.set()
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.mark.parametrize("verb", ["run", "check"])
def test_no_key(hf_finetune, recipe, tmp_path, verb):
    began = time.monotonic()
    done = hf_finetune(verb, recipe, ONLINE)
    assert done.code == 2
    assert "there is no API key for Comet" in done.err
    assert "COMET_API_KEY" in done.err
    assert "mode: offline" in done.err
    assert "<override> tracking=" in done.err
    assert time.monotonic() - began < STALL_S
    assert not (tmp_path / "run" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "Comet does not know this API key"),
        (403, "Comet does not know this API key"),
        (503, "Comet cannot be reached"),
    ],
)
def test_a_key_that_is_not_taken(hf_finetune, recipe, tmp_path, monkeypatch, status, words):
    key = secrets.token_hex(20)
    monkeypatch.setenv("COMET_API_KEY", key)
    with server(status) as (address, keys):
        monkeypatch.setenv("COMET_URL_OVERRIDE", address)
        done = hf_finetune("run", recipe, ONLINE)
    assert done.code == 2
    assert words in done.err
    assert keys == [key]
    assert key not in done.out + done.err
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_no_network(hf_finetune, recipe, monkeypatch):
    monkeypatch.setenv("COMET_API_KEY", secrets.token_hex(20))
    began = time.monotonic()
    done = hf_finetune("run", recipe, ONLINE)
    assert done.code == 2
    assert "Comet cannot be reached" in done.err
    assert time.monotonic() - began < STALL_S


def test_a_server_that_never_answers(hf_finetune, recipe, monkeypatch):
    monkeypatch.setenv("COMET_API_KEY", secrets.token_hex(20))
    monkeypatch.setattr("hf_finetune.tracking.comet_online.TIMEOUT_S", 0.5)
    with server(200, is_silent=True) as (address, _):
        monkeypatch.setenv("COMET_URL_OVERRIDE", address)
        began = time.monotonic()
        done = hf_finetune("run", recipe, ONLINE)
        assert time.monotonic() - began < STALL_S
    assert done.code == 2
    assert "Comet cannot be reached" in done.err


@pytest.mark.slow
def test_two_processes_end_at_once_with_one_message(recipe, tmp_path):
    halved = "training.per_device_train_batch_size=5"
    env = {"COMET_API_KEY": "", "COMET_CONFIG": str(tmp_path / "none")}
    done = command.run(["run", recipe, ONLINE, halved, "--processes", "2"], tmp_path, **env)
    assert done.code == 2
    assert done.err.count("there is no API key for Comet") == 1
    assert "first to fail" not in done.err  # none waited for the other until the launcher ended it


def test_a_missing_package_is_named_with_what_installs_it(hf_finetune, recipe, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "wandb" else real(name, *more)
    )
    done = hf_finetune("check", recipe, "training.report_to=wandb")
    assert done.code == 2
    assert "pip install 'hf-finetune[wandb]'" in done.err
    done = hf_finetune("check", recipe, "training.report_to=clearml")
    assert done.code == 2
    assert "clearml" in done.err
