"""What files are, by their names: pictures, sounds, tables, metadata of the former, or archives of any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from datasets.packaged_modules.audiofolder.audiofolder import AudioFolder
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from hf_finetune.tasks import audio, images

__all__ = [
    "ARCHIVES",
    "BUILDERS",
    "BUILDER_OF_SUFFIX",
    "MEDIA",
    "METADATA",
    "find_kind",
    "is_archive",
    "is_medium",
    "is_table",
]

MEDIA = {
    "image": frozenset({*ImageFolder.EXTENSIONS, *images.SUFFIXES, ".avif"}),
    "audio": frozenset({*AudioFolder.EXTENSIONS, *audio.SUFFIXES}),
}
METADATA = frozenset(ImageFolder.METADATA_FILENAMES)
BUILDER_OF_SUFFIX = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".tsv": "csv",
}
BUILDERS = frozenset({"audiofolder", "imagefolder", "webdataset", *BUILDER_OF_SUFFIX.values()})
ARCHIVES = "archives"
"""Stands for a builder where files have to be unpacked first."""
ARCHIVE_SUFFIXES = (".tar", ".tar.bz2", ".tar.gz", ".tar.xz", ".tgz", ".zip")
NO_TABLES = frozenset({"config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json"})
RANKS = (".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv", ".ndjson")
"""Which kind a folder of tables is of, where there are equally many of several; as in `datasets`."""
FOLDER_BUILDERS = {"image": "imagefolder", "audio": "audiofolder"}


def is_medium(name: str, medium: str) -> bool:
    """Whether a file's name says that it is a picture ("image"), or a sound ("audio")."""
    return _suffix(name) in MEDIA[medium]


def is_table(name: str) -> bool:
    """Whether a file's name says that it is a table of rows."""
    return _suffix(name) in BUILDER_OF_SUFFIX and PurePosixPath(name).name not in NO_TABLES


def is_archive(name: str) -> bool:
    """Whether a file's name says that it holds others."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def find_kind(
    names: Sequence[str], *, modality: str, metadata: Collection[str]
) -> tuple[str | None, list[str]]:
    """Return the builder that most files are for, or `ARCHIVES`, and the files that are for it.

    Pictures or sounds come before as many tables, but a single one does not; and those of the task come
    before the others, however few.

    Args:
        names: Of the files.
        modality: Of the task.
        metadata: Names of tables that say what the pictures or sounds beside them are.
    """
    counts = {medium: sum(is_medium(name, medium) for name in names) for medium in MEDIA}
    medium = modality if counts.get(modality) else max(counts, key=lambda medium: counts[medium])
    tables = [name for name in names if is_table(name) and PurePosixPath(name).name not in metadata]
    if counts[medium] > (1 if tables else 0) and counts[medium] >= len(tables):
        return FOLDER_BUILDERS[medium], find_media(names, medium, metadata)
    if tables:
        number = Counter(map(_suffix, tables))
        suffix = max(number, key=lambda suffix: (number[suffix], -RANKS.index(suffix)))
        return BUILDER_OF_SUFFIX[suffix], find_tables(tables, BUILDER_OF_SUFFIX[suffix])
    shards = [name for name in names if name.lower().endswith(".tar")]
    if shards:
        return "webdataset", shards
    archives = [name for name in names if is_archive(name)]
    return (ARCHIVES, archives) if archives else (None, [])


def find_media(names: Sequence[str], medium: str, metadata: Collection[str]) -> list[str]:
    """Return the pictures, or the sounds, and the tables that say what they are."""
    return [name for name in names if is_medium(name, medium) or PurePosixPath(name).name in metadata]


def find_tables(names: Sequence[str], builder: str) -> list[str]:
    """Return the tables that a builder reads."""
    return [name for name in names if is_table(name) and BUILDER_OF_SUFFIX[_suffix(name)] == builder]


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
