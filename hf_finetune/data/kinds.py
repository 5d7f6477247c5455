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
    "MEDIUM_OF",
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
MEDIUM_OF = {"imagefolder": "image", "audiofolder": "audio"}


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
    names: Sequence[str],
    *,
    builder: str | None = None,
    modality: str = "",
    metadata: Collection[str] = (),
    is_named: bool = False,
) -> tuple[str, list[str]]:
    """Return the builder that files are for, or `ARCHIVES`, and the files that are for it.

    Pictures or sounds come before as many tables of one suffix, but a single one does not; and those of the
    task come before the others, however few.

    Args:
        names: Of the files.
        builder: As the recipe names it; None finds out what most files are for.
        modality: Of the task.
        metadata: Names of tables that say what the pictures or sounds beside them are.
        is_named: Whether the recipe names the files; a builder of tables then reads them all.
    """
    kind = builder or _guess(names, modality, metadata)
    archives = [name for name in names if is_archive(name)]
    if kind in MEDIUM_OF:
        media = [name for name in names if is_medium(name, MEDIUM_OF[kind])]
        chosen = {*media, *(name for name in names if PurePosixPath(name).name in metadata)}
        used = [name for name in names if name in chosen] if media else []
    elif kind == "webdataset":
        return kind, [name for name in archives if builder or name.lower().endswith(".tar")]
    elif builder is not None and is_named and len(archives) < len(names):
        return builder, list(names)
    else:
        used = [name for name in names if is_table(name) and BUILDER_OF_SUFFIX[_suffix(name)] == kind]
    return (kind, used) if used else (ARCHIVES, archives)


def _guess(names: Sequence[str], modality: str, metadata: Collection[str]) -> str:
    counts = {medium: sum(is_medium(name, medium) for name in names) for medium in MEDIA}
    medium = modality if counts.get(modality) else max(counts, key=lambda medium: counts[medium])
    tables = [name for name in names if is_table(name) and PurePosixPath(name).name not in metadata]
    number = Counter(map(_suffix, tables))
    if counts[medium] > (1 if tables else 0) and counts[medium] >= max(number.values(), default=0):
        return next(builder for builder, its_own in MEDIUM_OF.items() if its_own == medium)
    if tables:
        return BUILDER_OF_SUFFIX[max(number, key=lambda suffix: (number[suffix], -RANKS.index(suffix)))]
    return "webdataset" if any(name.lower().endswith(".tar") for name in names) else ARCHIVES


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
