"""A run with `hub.repo_id`: what arrives at the Hub, read by plain transformers in another process."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from localhub import Fault
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[2]
SMOKE = str(ROOT / "recipes" / "smoke" / "image-classification.yaml")
WORSE_IN_THE_END = (
    "training.output_dir=run",
    "training.max_steps=12",
    "training.learning_rate=0.05",
    "training.eval_strategy=steps",
    "training.eval_steps=2",
)
BESIDE_MODEL = {"README.md", "curves.png", "recipe.yaml", "environment.json", "scores.json", "report.html"}

FINGERPRINT = """
    import hashlib
    from transformers import AutoModelForImageClassification

    def fingerprint(*source, **options):
        weights = AutoModelForImageClassification.from_pretrained(*source, **options).state_dict()
        digest = hashlib.sha256()
        for name in sorted(weights):
            digest.update(name.encode() + weights[name].numpy().tobytes())
        return digest.hexdigest()
    """
READ = (
    FINGERPRINT
    + """
    seen["pushed"] = fingerprint("alice/digits", revision=tag)
    seen["checkpoint"] = fingerprint(checkpoint)
    """
)


def save_digit(path: Path, row: int = 0) -> Path:
    Image.fromarray((load_digits().images[row] * 15.9).astype("uint8")).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("engine", ["trainer", pytest.param("accelerate", marks=pytest.mark.slow)])
def test_the_best_model_is_pushed_with_all_that_belongs_to_it(hub, command, client, tmp_path, engine):
    words = (
        SMOKE,
        f"engine={engine}",
        "hub={repo_id: digits, license: mit, tags: [small]}",
        *WORSE_IN_THE_END,
    )
    done = command("run", *words)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    scores = json.loads((run / "scores.json").read_text())
    step = scores["best"]["step"]
    assert step < 12, "the last model is the best one: this run shows nothing"
    repo = hub.store.repos["model", "alice/digits"]
    assert repo.private
    # one commit on top of the empty one, with its tag
    commit, initial = repo.history("main")
    assert initial.title == "initial commit"
    assert commit.title == f"Accuracy {scores['best']['value']:.6g} at update {step}"
    (tag, tagged), *others = repo.tags.items()
    assert (tag, tagged, others) == (f"step-{step}-accuracy-{scores['best']['value']:.6g}", commit.oid, [])
    assert (
        f"pushed, read back and compared: {hub.url}/alice/digits/commit/{commit.oid} ({tag})" in done.stderr
    )
    # byte for byte what is in the run folder
    local = {path.name: path for path in (run / "best").iterdir()} | {
        name: run / name for name in BESIDE_MODEL
    }
    assert set(commit.files) == {*local, ".gitattributes"}
    for name, path in local.items():
        assert commit.files[name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest(), name
    # and the weights are those of the best checkpoint, as plain transformers reads both
    checkpoint = run / f"checkpoint-{step}"
    seen = client(READ, account=command.alice, home="fresh", tag=tag, checkpoint=checkpoint)
    assert seen["pushed"] == seen["checkpoint"]


def test_the_card_says_what_a_fresh_evaluation_of_the_downloaded_model_says(hub, command, client, tmp_path):
    done = command("run", SMOKE, "hub.repo_id=digits", *WORSE_IN_THE_END)
    assert done.returncode == 0, done.stderr
    code = """
        from huggingface_hub import ModelCard, snapshot_download
        folder = snapshot_download("alice/digits", local_dir=into)
        seen["card"] = ModelCard.load("alice/digits").data.to_dict()
        """
    fetched = tmp_path / "fetched"
    card = client(code, account=command.alice, home="fresh", into=fetched)["card"]
    # the run folder as somebody has it who knows the repository alone
    (fetched / "best").mkdir()
    for name in ("config.json", "manifest.json", "model.safetensors", "preprocessor_config.json"):
        (fetched / name).rename(fetched / "best" / name)
    told = {}
    for result in card["model-index"][0]["results"]:
        told |= {metric["name"]: metric["value"] for metric in result["metrics"]}
    for split in ("test", "eval"):
        again = command("evaluate", str(fetched), "--split", split, "--allow-imports")
        assert again.returncode == 0, again.stderr
        measured = json.loads(again.stdout)
        for name in ("loss", "accuracy", "f1"):
            assert told[f"{name} ({split})"] == pytest.approx(measured[name], abs=1e-6), (split, name)


def test_the_snippet_of_the_card_runs(hub, command, client, tmp_path):
    assert command("run", SMOKE, "hub.repo_id=digits", "training.output_dir=run").returncode == 0
    card = ModelCard.load(tmp_path / "run" / "README.md")
    snippet = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
    assert "alice/digits" in snippet
    save_digit(tmp_path / "picture.png")
    seen = client(
        "exec(snippet)\nseen['said'] = model('picture.png')",
        account=command.alice,
        home="fresh",
        snippet=snippet,
    )
    assert len(seen["said"]) == 5
    here = command("predict", "run", "picture.png")
    said = json.loads(here.stdout)
    assert seen["said"][0]["label"] == said["prediction"]
    assert seen["said"][0]["score"] == pytest.approx(said["probability"], abs=1e-5)


def test_a_push_that_failed_is_finished_by_one_command(hub, command, tmp_path):
    """Before: main as it was. After: one commit, nothing sent twice that had arrived."""
    hub.fail(Fault(path="/api/models/alice/digits/commit/", method="POST", status=403, times=100))
    done = command("run", SMOKE, "hub.repo_id=digits", "training.output_dir=run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "alice/digits was not pushed: the token may not write to alice/digits (status 403" in done.stderr
    todo = "The run is whole in run; this finishes the push: hf-finetune push run"
    assert todo in " ".join(done.stderr.split())
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {*BESIDE_MODEL, "best"}
    repo = hub.store.repos["model", "alice/digits"]
    assert [commit.title for commit in repo.history("main")] == ["initial commit"]
    assert not repo.tags
    hub.faults.clear()
    hub.log.clear()
    again = command("push", "run")
    assert again.returncode == 0, again.stderr
    commit = repo.find("main")
    assert again.stdout.strip() == f"{hub.url}/alice/digits/commit/{commit.oid}"
    assert not [exchange for exchange in hub.log if "/lfs/put/" in exchange.target]
    # and once more: nothing changes
    assert command("push", "run").stdout == again.stdout
    assert len(repo.history("main")) == 2


def test_a_run_without_a_finite_score_has_no_best_model_to_push(hub, command, tmp_path):
    """Of two rows most of the ten classes have none: the area under their curves is not a number."""
    words = ("metrics=[roc_auc]", "data.splits.eval=train[70:72]", "training.metric_for_best_model=roc_auc")
    done = command("run", SMOKE, *words, "hub.repo_id=digits", "training.output_dir=run")
    assert done.returncode == 2
    told = "there is no best model to push: roc auc was never a finite number. Look at the curves"
    for failed in (done, command("push", "run")):
        assert failed.returncode == 2
        assert told in " ".join(failed.stderr.split())
        assert "Traceback" not in failed.stderr
    repo = hub.store.repos["model", "alice/digits"]
    assert [commit.title for commit in repo.history("main")] == ["initial commit"]
    assert not repo.tags
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_of_two_processes_the_first_alone_pushes(hub, command):
    words = ("hub.repo_id=digits", "training.output_dir=run", "training.per_device_train_batch_size=5")
    done = command("run", SMOKE, *words, "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert len(hub.store.repos["model", "alice/digits"].history("main")) == 2
    assert done.stderr.count("pushed, read back and compared") == 1
    assert len([exchange for exchange in hub.log if "/commit/main" in exchange.target]) == 1


@pytest.mark.slow
def test_what_another_push_left_is_not_loaded(hub, command, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    for name in ("adapter_config.json", "model-00001-of-00002.safetensors", "notes.txt"):
        (old / name).write_text("{}")
    hub.add_folder("model", "alice/digits", old)
    words = ("hub={repo_id: alice/digits, branch: next}", "training.output_dir=run")
    done = command("run", SMOKE, *words)
    assert done.returncode == 0, done.stderr
    assert "alice/digits is public: everybody will see what is pushed there" in done.stderr
    repo = hub.store.repos["model", "alice/digits"]
    assert set(repo.find("next").files) >= {"notes.txt", "model.safetensors"}
    assert not set(repo.find("next").files) & {"adapter_config.json", "model-00001-of-00002.safetensors"}
    assert "model.safetensors" not in repo.find("main").files
    elsewhere = command("push", "run", "--repo-id", "acme/digits", "--public")
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert not hub.store.repos["model", "acme/digits"].private
    head = yaml.safe_load((tmp_path / "run" / "README.md").read_text().split("---")[1])
    assert head["model-index"][0]["name"] == "digits"


@pytest.mark.parametrize(
    ("account", "repo_id", "message"),
    [
        (
            None,
            "alice/digits",
            "there is no token to push to alice/digits with. Run 'hf auth login', or set HF_TOKEN",
        ),
        ("reader", "reader/digits", "the token of reader only reads, and reader/digits is to be pushed to"),
        (
            "alice",
            "bob/digits",
            "alice is not a member of 'bob', and bob/digits is to be pushed to. Push to one of: alice, acme",
        ),
    ],
)
def test_rights_are_asked_for_before_training(hub, command, tmp_path, account, repo_id, message):
    known = {None: None, "alice": command.alice}
    who = known[account] if account in known else hub.add_account(account, role="read")
    for verb in ("check", "run"):
        done = command(verb, SMOKE, f"hub.repo_id={repo_id}", "training.output_dir=run", account=who)
        assert done.returncode == 2, done.stderr
        told = " ".join(done.stderr.split())
        assert message in told
        assert "<override> hub.repo_id" in told
        assert "Traceback" not in told
    assert not (tmp_path / "run" / "log.jsonl").exists()
    assert not hub.store.repos
