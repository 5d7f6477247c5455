"""Faults x flows: every request of a push or a load, ill in every way, and what came of it.

    python tests/hub/fault_matrix.py push | xet | load | xet-load   prints a table
    python tests/hub/fault_matrix.py all                            writes all four into tests/hub/README.md

Hub and client are one process here, and only the pauses of the client are left out: no cell waits for them.
A cell that ends neither well nor with a clear message, or that leaves a half-made branch, raises.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from localhub import Fault, LocalHub  # noqa: E402

ALWAYS = 10_000
FAULTS: dict[str, dict[str, Any]] = {
    "503 once": {"status": 503},
    "503 always": {"status": 503, "times": ALWAYS},
    "403 always": {"status": 403, "times": ALWAYS},
    "dropped once": {"drop": True},
    "dropped always": {"drop": True, "times": ALWAYS},
    "cut short once": {"truncate": 10},
    "0.2 s late": {"delay_s": 0.2, "times": ALWAYS},
}


@dataclass(frozen=True)
class Step:
    """A request of a flow.

    Args:
        name: For the table.
        path: Regular expression on path and query.
        method: Of the request.
        is_body: Whether the answer is a file, which can be cut short.
        branch: Pushed to.
    """

    name: str
    path: str
    method: str
    is_body: bool = False
    branch: str = "main"


PUSH = [
    Step("who am I", "/api/whoami", "GET"),
    Step("create the repository", "/api/repos/create", "POST"),
    Step("may I write", "/auth-check/write", "GET"),
    Step("where is main", "/api/models/alice/model/revision/main", "GET"),
    Step("make the branch", "/api/models/alice/model/branch/", "POST", branch="next"),
    Step("how to send each file", "/preupload/", "POST"),
    Step("check the card", "/api/validate-yaml", "POST"),
    Step("commit", "/api/models/alice/model/commit/", "POST"),
    Step("list the files", "/tree/[0-9a-f]{40}", "GET"),
    Step("read back: a file", "/resolve/[0-9a-f]{40}/config.json", "GET", is_body=True),
    Step("tag", "/api/models/alice/model/tag/", "POST"),
]
LFS = [Step("LFS: where to", "objects/batch", "POST"), Step("LFS: send", "/lfs/put/", "PUT")]
XET = [
    Step("Xet: key", "/xet-write-token/", "GET"),
    Step("Xet: send chunks", "/xet/v1/xorbs/", "POST"),
    Step("Xet: say what they make", "/xet/v1/shards", "POST"),
]
LOAD = {
    "model": [
        Step("config", "/org/model/resolve/.*/config.json", "GET", is_body=True),
        Step("weights: where", "/org/model/resolve/.*/model.safetensors", "HEAD"),
        Step("weights", "/cdn/", "GET", is_body=True),
        Step("processor", "/org/model/resolve/.*/preprocessor_config.json", "GET", is_body=True),
    ],
    "data": [
        Step("description", "/api/datasets/org/data", "GET"),
        Step("card", "/datasets/org/data/resolve/.*/README.md", "GET", is_body=True),
        Step("tables", "/cdn/", "GET", is_body=True),
    ],
}


XET_LOAD = [
    Step("Xet: key", "/xet-read-token/", "GET"),
    Step("Xet: of which chunks", "/xet/v1/reconstructions/", "GET"),
    Step("Xet: chunks", "/xet/data/", "GET", is_body=True),
]


def run_pushes(*, has_xet: bool) -> Iterator[tuple[str, str, str]]:
    """Yield step, fault and outcome of each cell of the pushes."""
    with tempfile.TemporaryDirectory() as folder, LocalHub(Path(folder) / "hub", has_xet=has_xet) as hub:
        _become_client(hub, Path(folder) / "home")
        files = _make_files(Path(folder) / "files")
        for step in XET if has_xet else [*PUSH, *LFS]:
            for name in _faults_of(step):
                yield step.name, name, _push_through(hub, files, step, FAULTS[name])


def _push_through(hub: LocalHub, files: dict[str, Path], step: Step, fault: dict[str, Any]) -> str:
    from hf_finetune.errors import HubError
    from hf_finetune.hub import Target, Upload, push_files, require_rights

    hub.store.repos.clear()
    for blob in hub.store.blobs.iterdir():
        blob.unlink()
    if hub.xet is not None:
        files["model.safetensors"].write_bytes(secrets.token_bytes(200_000))  # chunks that nobody has yet
    finish = "Then: hf-finetune push RUN"

    def push() -> None:
        target = Target(repo_id="model", later=finish)
        repo_id = require_rights(target)
        push_files(
            Upload(repo_id=repo_id, files=files, title="Push", tag="v1", finish=finish, branch=step.branch)
        )

    injected = _inject(hub, step, fault)
    try:
        push()
    except HubError as error:
        text = str(error)
        assert finish in text, text
        assert "model" in text, text
        kept = _state(hub, files, step.branch)
        assert kept in ("untouched", "whole"), kept
        hub.faults.clear()
        push()
        assert _state(hub, files, step.branch) == "tagged"
        return f"told, {step.branch} {kept}"
    finally:
        hub.faults.clear()
        assert injected.times < fault.get("times", 1), "no request suffered it"
    assert _state(hub, files, step.branch) == "tagged"
    return "pushed"


def _inject(hub: LocalHub, step: Step, fault: dict[str, Any]) -> Fault:
    """Let the requests of a step suffer a fault, and return what counts them."""
    injected = Fault(path=step.path, method=step.method, **fault)
    hub.fail(injected)
    return injected


def _state(hub: LocalHub, files: dict[str, Path], branch: str) -> str:
    """Say how far a push got: untouched, half, whole, tagged."""
    repo = hub.store.repos.get(("model", "alice/model"))
    if repo is None or branch not in repo.branches or len(repo.history(branch)) == 1:
        return "untouched"
    there = {name: entry.sha256 for name, entry in repo.find(branch).files.items() if name in files}
    here = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    if there != here or len(repo.history(branch)) != 2:
        return "half"
    return "tagged" if repo.tags.get("v1") == repo.branches[branch] else "whole"


def run_loads(*, has_xet: bool) -> Iterator[tuple[str, str, str]]:
    """Yield step, fault and outcome of each cell of the loads, from an empty cache each."""
    with tempfile.TemporaryDirectory() as folder, LocalHub(Path(folder) / "hub", has_xet=has_xet) as hub:
        home = Path(folder) / "home"
        _become_client(hub, home)
        from huggingface_hub import HfApi
        from published import save_cifar_shaped, save_small_deit  # they read the environment, too

        model = save_small_deit(Path(folder) / "deit")
        tables = save_cifar_shaped(Path(folder) / "cifar", num_train=20, num_test=10)
        for kind, repo_id, files in (("model", "org/model", model), ("dataset", "org/data", tables)):
            HfApi().create_repo(repo_id, repo_type=kind)  # by the client: that makes chunks of large files
            HfApi().upload_folder(repo_id=repo_id, repo_type=kind, folder_path=files)
        for kind, load in (("model", _load_model), ("data", _load_data)):
            for step in XET_LOAD if has_xet else LOAD[kind]:
                for name in _faults_of(step):
                    yield f"{kind}: {step.name}", name, _load_through(hub, home, load, step, FAULTS[name])


def _load_through(
    hub: LocalHub, home: Path, load: Callable[[], None], step: Step, fault: dict[str, Any]
) -> str:
    from huggingface_hub import HfFileSystem
    from huggingface_hub.utils import _xet

    from hf_finetune import hub_access
    from hf_finetune.errors import UserError

    shutil.rmtree(home, ignore_errors=True)
    HfFileSystem.clear_instance_cache()  # it remembers what repositories hold
    _xet.abort_xet_session()
    _xet.XET_CONNECTION_INFO_CACHE.clear()  # keys of the store, for an hour
    hub_access.is_reachable.cache_clear()
    injected = _inject(hub, step, fault)
    try:
        load()
    except UserError as error:
        text = str(error)
        assert "org/" in text, text
        assert "Traceback" not in text, text
        hub.faults.clear()
        load()
        return "told"
    finally:
        hub.faults.clear()
        assert injected.times < fault.get("times", 1), "no request suffered it"
    return "loaded"


def _load_model() -> None:
    from hf_finetune.model import build_model
    from hf_finetune.recipe import Recipe
    from hf_finetune.tasks import build_task
    from hf_finetune.tasks.labels import LabelSpace

    recipe = Recipe(task="image-classification", model={"checkpoint": "org/model"}, data={"path": "org/data"})
    task = build_task(recipe)
    task.load_processor(recipe)
    labels = LabelSpace(problem_type="single_label_classification", names=("a", "b"), num_labels=2)
    build_model(recipe, task, labels)


def _load_data() -> None:
    from hf_finetune.data.load import load_splits
    from hf_finetune.recipe import Recipe

    recipe = Recipe(task="image-classification", model={"checkpoint": "org/model"}, data={"path": "org/data"})
    assert sorted(load_splits(recipe)) == ["test", "train"]


def _become_client(hub: LocalHub, home: Path) -> None:
    """Let this process know this hub and no other, and pause for nothing."""
    hasty_xet = {"HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2", "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms"}
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", **hasty_xet} | {
        name: value
        for name, value in hub.environment(home, hub.add_account("alice", orgs=["org"])).items()
        if name.startswith("HF_")
    }
    import huggingface_hub.utils._http as http

    from hf_finetune import patient_reads
    from hf_finetune.hub import patience

    hasty = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    http.time = hasty  # type: ignore[attr-defined]
    patience.time = patient_reads.time = hasty  # type: ignore[attr-defined]


def _make_files(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    contents = {
        "README.md": b"---\nlicense: mit\n---\n# Model\n",
        "config.json": b'{"model_type": "bert"}',
        "model.safetensors": secrets.token_bytes(200_000),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def _faults_of(step: Step) -> list[str]:
    return [name for name in FAULTS if step.is_body or "cut" not in name]


def draw(cells: list[tuple[str, str, str]]) -> str:
    """Make a table of cells: a row for each step, a column for each fault."""
    outcomes = {(step, fault): outcome for step, fault, outcome in cells}
    steps = list(dict.fromkeys(step for step, _, _ in cells))
    lines = [f"| request | {' | '.join(FAULTS)} |", f"| --- |{' --- |' * len(FAULTS)}"]
    lines += [f"| {s} | {' | '.join(outcomes.get((s, f), '') for f in FAULTS)} |" for s in steps]
    return "\n".join(lines)


def make_table(kind: str) -> str:
    """Draw the table of one kind in a process of its own: the clients read their settings once a process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    words = [sys.executable, __file__, kind]
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


def main() -> None:
    """Print the table of one kind, or write all of them down."""
    kinds = {
        "push": lambda: run_pushes(has_xet=False),
        "xet": lambda: run_pushes(has_xet=True),
        "load": lambda: run_loads(has_xet=False),
        "xet-load": lambda: run_loads(has_xet=True),
    }
    if sys.argv[1] != "all":
        print(draw(list(kinds[sys.argv[1]]())))
        return
    readme = Path(__file__).with_name("README.md")
    text = readme.read_text(encoding="utf-8")
    for kind in kinds:
        start, end = f"<!-- {kind} -->\n", f"\n<!-- end of {kind} -->"
        before, rest = text.split(start)
        text = f"{before}{start}{make_table(kind)}{end}{rest.split(end)[1]}"
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
