"""What the Hub answers is told in the user's words, with the network and, later, without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from published import save_cifar_shaped, save_small_deit

import hf_finetune

ROOT = Path(hf_finetune.__file__).parents[1]
COMMIT, OTHER = "2" * 40, "9" * 40

READ = """
    sys.path.insert(0, root)
    from hf_finetune.data.load import load_splits
    from hf_finetune.errors import UserError
    from hf_finetune.recipe import Recipe
    from hf_finetune.tasks import TASKS

    def attempt(kind, path, revision):
        model = {"checkpoint": path, "revision": revision}
        recipe = Recipe(task="image-classification", model=model, data={"path": path, "revision": revision})
        try:
            if kind == "dataset":
                return sorted(load_splits(recipe))
            return type(TASKS.get(recipe.task.name)(recipe.task).load_processor(recipe)).__name__
        except UserError as error:
            return f"{type(error).__name__}: {error}"

    seen["told"] = [attempt(*case) for case in cases]
    """


@pytest.fixture
def stocked(hub, tmp_path):
    """Publish a public, a gated and a private one of both kinds, all of the same contents."""
    for kind, folder in (
        ("model", save_small_deit(tmp_path / "deit")),
        ("dataset", save_cifar_shaped(tmp_path / "cifar", num_train=20, num_test=10)),
    ):
        hub.add_folder(kind, "org/good", folder, revision=COMMIT)
        hub.add_folder(kind, "org/gated", folder, gated=True)
        hub.add_folder(kind, "org/private", folder, private=True)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    hub.add_folder("model", "org/bert", tmp_path / "bert")
    return hub


def test_with_the_network(stocked, client):
    nouns = {"model": "checkpoint", "dataset": "data set"}
    expected = {}
    for kind, noun in nouns.items():
        page = f"{stocked.url}/{'datasets/' if kind == 'dataset' else ''}org"
        expected |= {
            (
                kind,
                "org/goof",
                None,
            ): f"the Hub has no {noun} 'org/goof', or it is private. Check the spelling; "
            "for a private one run 'hf auth login'. Cached here: org/good",
            (kind, "org/private", None): f"the Hub has no {noun} 'org/private', or it is private",
            (
                kind,
                "org/gated",
                None,
            ): f"the {noun} 'org/gated' is gated. Ask for access at {page}/gated, then run 'hf auth login'",
            (
                kind,
                "org/good",
                "v9",
            ): f"the {noun} 'org/good' has no revision 'v9'. Its revisions are listed at {page}/good",
            (kind, "org/good", OTHER): f"the {noun} 'org/good' has no revision '{OTHER}'",
        }
    expected = {case: f"HubError: recipe: {text}" for case, text in expected.items()}
    expected["model", "org/bert", None] = "ModelError: recipe: org/bert has no image processor: "
    loaded = {
        ("model", "org/good", None): "DeiTImageProcessorPil",
        ("dataset", "org/good", None): ["test", "train"],
    }
    told = client(READ, root=ROOT, cases=[*loaded, *expected])["told"]
    assert told[:2] == list(loaded.values())
    for case, text, got in zip(expected, expected.values(), told[2:], strict=True):
        assert got.startswith(text), case


def test_after_the_network_is_gone(stocked, client):
    first = [("model", "org/good", COMMIT), ("dataset", "org/good", COMMIT)]
    assert client(READ, root=ROOT, cases=first)["told"] == ["DeiTImageProcessorPil", ["test", "train"]]
    stocked.__exit__(None, None, None)
    cases = [
        *first,
        ("dataset", "org/good", None),
        ("dataset", "org/good", OTHER),
        ("model", "org/new", None),
    ]
    told = client(READ, root=ROOT, cases=cases)["told"]
    assert told[:3] == ["DeiTImageProcessorPil", ["test", "train"], ["test", "train"]]
    assert f"the cached copy of 'org/good' is of revision {COMMIT}. Connect to fetch" in told[3]
    assert f"{stocked.url} cannot be reached, and the cache " in told[4]
    assert "has no (whole) checkpoint 'org/new'. Check the network" in told[4]
