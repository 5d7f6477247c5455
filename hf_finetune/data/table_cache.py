"""`datasets.load_dataset` whose cache cannot be stale or damaged.

`datasets` 5.2 makes an Arrow table of csv, json, parquet and other files once, and finds it again by the
names and the times of writing of the files alone: another file with the same time, as `cp -p`, `rsync -t` and
archives may leave it, is not read, even if its size is another. A table that was cut off is an error in every
run that follows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher

from hf_finetune.atomic_io import is_disk_full
from hf_finetune.data.cache import (
    cache_folder,
    check_file,
    explain_cache_errors,
    measure_file,
)
from hf_finetune.data.file_states import FileStates, read_states
from hf_finetune.errors import DataError

__all__ = ["load_tables"]

logger = logging.getLogger(__name__)

OF_PREPARING = ("verification_mode", "keep_in_memory")
"""Arguments of `load_dataset` that its builder does not take."""


def load_tables(path: str, *, place: str, **options: Any) -> datasets.DatasetDict:
    """Do as `datasets.load_dataset` does, but make the tables anew where they are stale or damaged.

    Args:
        path: Of a builder, a folder or a data set on the Hub.
        place: Of the data, for messages.
        options: Of `load_dataset`.

    Raises:
        DataError: The cache is damaged and cannot be made anew, or cannot be written.
        Exception: What `load_dataset` raises.
    """
    with explain_cache_errors(Path(datasets.config.HF_DATASETS_CACHE)):
        late = {key: options.pop(key) for key in OF_PREPARING if key in options}
        builder = _open_builder(path, options)
        folder = Path(builder.cache_dir)
        states = _read_states(builder)
        why = _find_fault(folder, states, place)
        if why is not None:
            _prepare(builder, why, place, late)
        try:
            loaded = builder.as_dataset(in_memory=bool(late.get("keep_in_memory")))
        except (OSError, ValueError) as error:  # pyarrow's, of a file that was damaged before it was noted
            _prepare(builder, f"the tables of {place} are damaged in {folder} ({error})", place, late)
            loaded = builder.as_dataset(in_memory=bool(late.get("keep_in_memory")))
        if why is not None or not _list_file(folder).is_file():
            _note(folder, states)
        return loaded


def _open_builder(path: str, options: Mapping[str, Any]) -> datasets.DatasetBuilder:
    try:
        return datasets.load_dataset_builder(path, **options)
    except ValueError:  # of json, or of a text that is no UTF-8
        # it reads what is kept of a data set as soon as it is opened
        torn = list(_list_torn(Path(datasets.config.HF_DATASETS_CACHE)))
        if not torn:
            raise
        for folder in torn:
            logger.warning("the tables in %s are damaged: removed, to be made again", folder)
            shutil.rmtree(folder)
        return datasets.load_dataset_builder(path, **options)


def _list_torn(cache: Path) -> Iterator[Path]:
    for file in cache.glob("*/*/*/*/dataset_info.json"):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            yield file.parent


def _read_states(builder: datasets.DatasetBuilder) -> FileStates:
    """Look at the local files that the tables are made of."""
    files = getattr(builder.config, "data_files", None)
    listed = [str(name) for names in files.values() for name in names] if isinstance(files, Mapping) else []
    return read_states(listed, ())


def _find_fault(folder: Path, states: FileStates, place: str) -> str | None:
    """Return why the tables must be made; None where they are there and right, "" where there are none."""
    if not (folder / "dataset_info.json").is_file():
        return ""
    damage = f"the tables of {place} are damaged in {folder}"
    list_file = _list_file(folder)
    if not list_file.is_file():
        return _judge_unknown(folder, states, place)
    try:
        measured = dict(json.loads(list_file.read_text(encoding="utf-8")))
        old = np.load(list_file.with_suffix(".npy"), allow_pickle=False)
        old = old.reshape(-1, 5)
    except (OSError, ValueError, TypeError, EOFError):
        return _judge_unknown(folder, states, place)
    changed = len(states) if len(old) != len(states) else states.count_changes(old, "times")
    if changed:
        return f"{changed:,} of {len(states):,} files of {place} changed since they were read"
    if not all(check_file(folder / name, sizes) for name, sizes in measured.items()):
        return damage
    return None


def _judge_unknown(folder: Path, states: FileStates, place: str) -> str | None:
    """Judge tables of which nothing is noted: they are right where no file changed after they were made."""
    made = min((file.stat().st_mtime_ns for file in folder.glob("*.arrow")), default=None)
    if made is None:
        return f"the tables of {place} are damaged in {folder}"
    changed = int(np.count_nonzero(states.table[:, 3] >= made)) if len(states) else 0
    return (
        f"{changed:,} of {len(states):,} files of {place} changed since they were read" if changed else None
    )


def _prepare(builder: datasets.DatasetBuilder, why: str, place: str, options: Mapping[str, Any]) -> None:
    """Make the tables anew, archives unpacked anew."""
    if why:
        logger.warning("%s: reading again", why)
    if type(builder).__name__ == "Cache":  # what `datasets` takes for a data set of the Hub without a network
        if why:
            raise DataError(
                why,
                where=place,
                todo=f"Delete {builder.cache_dir}, and fetch it again with the Hub within reach.",
            )
        return
    # what comes from the Hub is of one commit for ever
    unpack = None if builder.repo_id else _unpack_anew(builder)
    try:
        builder.download_and_prepare(
            download_config=unpack,
            download_mode=datasets.DownloadMode.REUSE_CACHE_IF_EXISTS,
            verification_mode=options.get("verification_mode"),
            storage_options=builder.storage_options,
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, OSError) and is_disk_full(error.__cause__):
            raise error.__cause__ from error
        raise


def _unpack_anew(builder: datasets.DatasetBuilder) -> datasets.DownloadConfig:
    return datasets.DownloadConfig(
        cache_dir=Path(datasets.config.HF_DATASETS_CACHE) / "downloads",
        force_extract=True,
        use_etag=False,
        token=builder.token,
        storage_options=builder.storage_options,
    )


def _list_file(folder: Path) -> Path:
    """Return where it is noted what the tables in a folder are, and of which files."""
    return cache_folder() / "tables" / f"{Hasher.hash(str(folder))}.json"


def _note(folder: Path, states: FileStates) -> None:
    measured = {file.name: measure_file(file) for file in sorted(folder.glob("*.arrow"))}
    list_file = _list_file(folder)
    with contextlib.suppress(OSError):  # a cache that is read-only can be read
        list_file.parent.mkdir(parents=True, exist_ok=True)
        for target, write in (
            (list_file.with_suffix(".npy"), lambda file: np.save(file, states.table)),
            (list_file, lambda file: file.write(json.dumps(measured).encode())),
        ):
            part = target.with_name(f"{target.name}.{os.getpid()}.part")
            with part.open("wb") as file:
                write(file)
            part.replace(target)
