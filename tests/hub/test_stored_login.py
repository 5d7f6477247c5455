"""What `hf auth login` has stored is used: a private checkpoint is read, a run pushed, without HF_TOKEN."""

from __future__ import annotations

from pathlib import Path

import pytest
from published import save_small_deit

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "recipes" / "smoke" / "image-classification.yaml")
LOG_IN = "from huggingface_hub import login; login(token=token); seen['done'] = True"


@pytest.fixture
def private(hub, tmp_path):
    hub.add_folder("model", "alice/secret", save_small_deit(tmp_path / "deit", image_size=16), private=True)
    return (SMOKE, "model.checkpoint=alice/secret", "training.output_dir=run", "training.max_steps=2")


def test_a_private_checkpoint_is_read_with_the_stored_login(hub, command, client, tmp_path, private):
    done = command("check", *private, account=None)
    assert done.returncode == 2
    assert "the Hub has no checkpoint 'alice/secret', or it is private" in done.stderr
    assert "for a private one run 'hf auth login'" in done.stderr
    # the real login, which checks the token and writes it to HF_HOME
    assert client(LOG_IN, home="home", token=command.alice.token)["done"]
    stored = tmp_path / "home" / "token"
    assert stored.read_text() == command.alice.token
    done = command("run", *private, "hub.repo_id=digits", account=None)
    assert done.returncode == 0, done.stderr
    assert hub.store.repos["model", "alice/digits"].private
    assert command.alice.token not in done.stdout + done.stderr
    run = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert run
    assert not [path for path in run if command.alice.token.encode() in path.read_bytes()]


def test_a_stored_token_may_lie_elsewhere(command, tmp_path, private):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(f"{command.alice.token}\n")
    done = command("check", *private, account=None, HF_TOKEN_PATH=str(elsewhere))
    assert done.returncode == 0, done.stderr
