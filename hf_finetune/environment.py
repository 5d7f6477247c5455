"""What a run was made with: versions, machine, revisions, seeds. Enough to make it again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_environment"]

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
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
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
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
