"""What a run was made with: versions, machine, revisions, seeds. Enough to make it again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from transformers import TrainingArguments

from hf_finetune.data import Splits
from hf_finetune.hub_access import Kind, find_cached_commit
from hf_finetune.recipe import Recipe
from hf_finetune.secrecy import hide_in

__all__ = ["describe_environment", "describe_inputs", "list_loose_revisions"]

PACKAGES = (
    "hf-finetune", "torch", "transformers", "datasets", "accelerate", "evaluate", "peft", "safetensors",
    "huggingface_hub", "tokenizers", "numpy", "pillow", "scikit-learn",
)  # fmt: skip


def describe_environment(recipe_path: Path) -> dict[str, Any]:
    """Describe this process' software and hardware; JSON-able, without host or user names.

    Args:
        recipe_path: The git commit is that of the folder it lies in.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": hide_in([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git_commit": _git_commit(recipe_path.resolve().parent),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "num_processes": int(os.environ.get("WORLD_SIZE", "1")),
        "num_threads": torch.get_num_threads(),
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
        "accelerators": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def describe_inputs(recipe: Recipe, splits: Splits, args: TrainingArguments) -> dict[str, Any]:
    """Describe what a run starts from: checkpoint and data set with their commits, rows, seeds; JSON-able."""
    return {
        "checkpoint": recipe.model.checkpoint,
        "checkpoint_revision": _find_commit("model", recipe.model.checkpoint, recipe.model.revision),
        "dataset": recipe.data.path,
        "dataset_revision": _find_commit("dataset", recipe.data.path, recipe.data.revision),
        "data_fingerprint": splits.fingerprint,
        "rows": splits.sizes,
        "columns": dict(splits.columns),
        "dropped_rows": {name: [list(row) for row in rows] for name, rows in splits.dropped.items()},
        "overlaps": list(splits.overlaps),
        "duplicates": [one.to_json() for one in splits.duplicates],
        "seed": args.seed,
        "data_seed": args.data_seed,
    }


def _find_commit(kind: Kind, name: str, revision: str | None) -> str | None:
    """Return the commit that was read from the Hub; None for what is not from the Hub."""
    return None if Path(name).exists() else find_cached_commit(kind, name, revision or "main")


def list_loose_revisions(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the key and today's commit of what a recipe does not pin, for it to be written down."""
    for kind, key, name, revision in (
        ("model", "model.revision", recipe.model.checkpoint, recipe.model.revision),
        ("dataset", "data.revision", recipe.data.path, recipe.data.revision),
    ):
        commit = _find_commit(cast(Kind, kind), name, revision)
        if commit is not None and commit != revision:
            yield key, commit


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit(folder: Path) -> str | None:
    """The commit, with "+changes" when the work tree differs from it; None outside of git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return f"{commit}+changes" if commit and git("status", "--porcelain", "-uno") else commit or None
    except (OSError, subprocess.TimeoutExpired):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
