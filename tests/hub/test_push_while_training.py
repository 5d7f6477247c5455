"""`hub.strategy`: what is at the Hub while training goes on, from either engine, and when pushes fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from localhub import Fault

SMOKE = str(Path(__file__).parents[2] / "recipes" / "smoke" / "image-classification.yaml")
RUN = (
    SMOKE,
    "training.output_dir=run",
    "training.max_steps=12",
    "training.learning_rate=0.05",
    "training.eval_strategy=steps",
    "training.eval_steps=2",
)
FINGERPRINT = """
    import hashlib
    from transformers import AutoModelForImageClassification

    def fingerprint(*source, **options):
        weights = AutoModelForImageClassification.from_pretrained(*source, **options).state_dict()
        digest = hashlib.sha256()
        for name in sorted(weights):
            digest.update(name.encode() + weights[name].numpy().tobytes())
        return digest.hexdigest()

    for tag in tags:
        seen[tag] = fingerprint("alice/digits", revision=tag)
    seen["best"] = fingerprint("run/best")
    """


@pytest.mark.parametrize(
    ("engine", "strategy"),
    [
        ("accelerate", "checkpoint"),
        *(
            pytest.param(*cell, marks=pytest.mark.slow)
            for cell in (
                ("trainer", "checkpoint"),
                ("trainer", "every_save"),
                ("accelerate", "every_save"),
                ("trainer", "all_checkpoints"),
                ("accelerate", "all_checkpoints"),
            )
        ),
    ],
)
def test_what_is_pushed_on_the_way(hub, command, client, tmp_path, engine, strategy):
    done = command("run", *RUN, f"engine={engine}", f"hub={{repo_id: digits, strategy: {strategy}}}")
    assert done.returncode == 0, done.stderr
    repo = hub.store.repos["model", "alice/digits"]
    *_, first = history = repo.history("main")
    assert first.title == "initial commit"
    assert "so far" not in history[0].title
    titles = [commit.title for commit in history]
    files = set(repo.find("main").files)
    folders = {name.partition("/")[0] for name in files if "/" in name}
    expected = {
        "every_save": set(),
        "checkpoint": {"last-checkpoint"},
        "all_checkpoints": {f"checkpoint-{step}" for step in (2, 4, 6, 8, 10, 12)},
    }
    assert folders == expected[strategy], titles
    if strategy != "every_save":
        last = "last-checkpoint" if strategy == "checkpoint" else "checkpoint-12"
        assert f"{last}/optimizer.pt" in files
        state = repo.find("main").files[f"{last}/trainer_state.json"]
        assert b'"global_step": 12' in hub.store.read(state)
    # at the top there was never anything but the best so far, each under its own name
    assert all(f"update {tag.split('-')[1]}" in repo.find(tag).title for tag in repo.tags)
    assert not list((tmp_path / "run").glob(".pushing-*"))
    if strategy == "every_save":
        final = next(tag for tag in repo.tags if repo.find(tag).oid == history[0].oid or len(repo.tags) == 1)
        seen = client(FINGERPRINT, account=command.alice, home="fresh", tags=[final])
        assert seen[final] == seen["best"]


def test_a_push_that_fails_on_the_way_costs_neither_the_training_nor_the_last_push(hub, command, tmp_path):
    hub.fail(Fault(path="/api/models/alice/digits/commit/", method="POST", status=403, times=1))
    done = command("run", *RUN, "hub={repo_id: digits, strategy: every_save}")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "Training goes on; the push at the end decides" in told
    assert "training ended at update 12/12" in told
    assert "pushed, read back and compared" in told
    assert "Traceback" not in told
    assert not list((tmp_path / "run").glob(".pushing-*"))
