"""Without a network the cache is used, and what is not in it fails at once, in words."""

import logging
import time

import datasets
import pytest
from huggingface_hub import constants
from transformers import AutoConfig

from hf_finetune import hub_access
from hf_finetune.data.load import load_splits
from hf_finetune.errors import HubError
from hf_finetune.hub_access import find_cached_commit, is_reachable, list_cached, reading_hub
from hf_finetune.recipe import Recipe


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Forget what was found out about the network, before and after."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    for name in ("datasets--uoft-cs--cifar10", "models--google--vit-base"):
        (tmp_path / name / "snapshots" / ("a" * 40)).mkdir(parents=True)
    is_reachable.cache_clear()
    yield
    is_reachable.cache_clear()


@pytest.fixture
def dead(monkeypatch):
    """Offline mode is off, and nothing answers at the Hub's address."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def data_recipe(path, **data):
    return Recipe(task="x", model={"checkpoint": "x"}, data={"path": path, **data})


def test_offline_mode_names_the_variable_the_cache_and_the_nearest():
    with pytest.raises(
        HubError,
        match=r"HF_HUB_OFFLINE is set, and the cache .* has no \(whole\) data set 'uoft-cs/cifar-10'\. "
        r"Unset HF_HUB_OFFLINE to fetch it, or give a local path\. Cached here: uoft-cs/cifar10",
    ):
        load_splits(data_recipe("uoft-cs/cifar-10"))


def test_a_dead_network_fails_within_seconds(dead, caplog):
    start = time.monotonic()
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached, .*'a/b' at revision x\."):
        load_splits(data_recipe("a/b", revision="x"))
    with (
        pytest.raises(HubError, match=r"r\.yaml:1:1: http.*has no \(whole\) checkpoint 'google/vit-bas'"),
        reading_hub("model", "google/vit-bas", where="r.yaml:1:1"),
    ):
        AutoConfig.from_pretrained("google/vit-bas")
    assert time.monotonic() - start < 10
    assert [record.message for record in caplog.records if record.name == hub_access.__name__] == [
        "http://127.0.0.1:9 cannot be reached ([Errno 111] Connection refused): only the cache can be used"
    ]
    assert not constants.HF_HUB_OFFLINE
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_proxy_without_a_way_out_is_a_dead_network(dead, monkeypatch):
    class Session:
        def head(self, url, timeout):
            return type("Answer", (), {"status_code": 503})

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    assert not is_reachable()


def test_local_folders_need_no_network(dead, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_access, "is_reachable", lambda: pytest.fail("the network was tried"))
    with reading_hub("model", str(tmp_path)):
        pass


def test_errors_of_other_kinds_pass(caplog):
    caplog.set_level(logging.ERROR)
    with pytest.raises(ZeroDivisionError), reading_hub("model", "a/b"):
        _ = 1 / 0


def test_what_is_cached(tmp_path):
    assert list_cached("dataset") == ["uoft-cs/cifar10"]
    assert list_cached("model") == ["google/vit-base"]
    assert find_cached_commit("model", "google/vit-base", "b" * 40) == "b" * 40
    assert find_cached_commit("model", "google/vit-base", "main") is None
    refs = tmp_path / "models--google--vit-base" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    assert find_cached_commit("model", "google/vit-base", "main") == "a" * 40
