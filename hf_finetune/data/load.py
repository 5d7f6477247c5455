"""A recipe's `data` -> named splits of a `datasets.DatasetDict`, wherever they are."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from datasets.exceptions import DatasetGenerationError

from hf_finetune.data.sound_files import sounds_as_files
from hf_finetune.errors import DataError, HubError
from hf_finetune.formatting import flatten_keys, offer
from hf_finetune.hub_access import find_cached_commit, is_path, is_reachable, reading_hub
from hf_finetune.secrecy import HIDDEN

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["find_empty_folders", "find_folders", "load_splits", "take_split"]

BUILDER_OF_SUFFIX = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".tsv": "csv",
}
OTHER_KEYS = {"data_dir", "data_files", "name", "num_proc", "path", "revision", "split", "streaming"}
BUILDERS = frozenset({"arrow", "audiofolder", "csv", "imagefolder", "json", "parquet", "webdataset"})


def load_splits(recipe: Recipe) -> datasets.DatasetDict:
    """Load all splits there are; their rows stay on disk.

    `data.path` is a folder that `save_to_disk` wrote, a folder of files (also one with a sub-folder for each
    class), a single file, the name of a builder of `datasets` ("imagefolder", "csv" ...) with `data_files` or
    `data_dir`, or the id of a data set on the Hub.

    Raises:
        DataError: There is nothing at a local path, or what is there cannot be read.
        HubError: See `reading_hub`.
    """
    _refuse_redacted(recipe)
    spec = recipe.data
    where = recipe.where("data.path")
    path = Path(spec.path).expanduser()
    options: dict[str, Any] = {
        "name": spec.name,
        "data_dir": spec.data_dir,
        "data_files": spec.data_files,
        **_check_options(recipe),
    }
    try:
        with sounds_as_files():
            return _load(recipe, path, options)
    except DatasetGenerationError as error:
        raise DataError(
            f"{spec.path} cannot be read: {error.__cause__ or error}",
            where=where,
            todo="Repair the file, or name the files to read in data.data_files.",
        ) from error
    except (FileNotFoundError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise DataError(f"no data at {spec.path}: {error}", where=where, todo="Check the path.") from error
    except ValueError as error:
        told = "there is no row in it" if "corresponds to no data" in str(error) else str(error)
        raise DataError(f"{spec.path} cannot be loaded: {told}", where=where) from error


def _load(recipe: Recipe, path: Path, options: dict[str, Any]) -> datasets.DatasetDict:
    spec, where = recipe.data, recipe.where("data.path")
    if _is_saved(path):
        _refuse(recipe, ["name", "revision", "data_dir", "data_files", "options"], "for a saved data set")
        loaded = datasets.load_from_disk(str(path))
        return loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict(train=loaded)
    if path.is_file():
        _refuse(recipe, ["revision", "data_dir", "data_files"], "for a single file")
        return datasets.load_dataset(_builder_of(path, where), **options | {"data_files": str(path)})
    if path.is_dir() or spec.path in BUILDERS:
        _refuse(recipe, ["revision"], "for local files")
        _refuse_nothing(spec.path, path, spec, where)
        return datasets.load_dataset(str(path) if path.is_dir() else spec.path, **options)
    if is_path(spec.path) or path.suffix in BUILDER_OF_SUFFIX:
        raise _not_there(path, where)
    with reading_hub("dataset", spec.path, revision=spec.revision, where=where):
        fetched = datasets.load_dataset(spec.path, revision=spec.revision, **options)
    _refuse_other_revision(fetched, spec, where)
    return fetched


def take_split(loaded: datasets.DatasetDict, expression: str, *, where: str) -> datasets.Dataset:
    """Return the rows of a split expression: "train", "train[:95%]", "train[10:20]+test".

    Raises:
        DataError: The expression is malformed, names a split that is not there, or has no row.
    """
    names = [part.partition("[")[0].strip() for part in expression.split("+")]
    for name in names:
        if name not in loaded:
            raise DataError(
                f"the data set has no split {name!r}", where=where, todo=offer(name, loaded, "Its splits")
            )
    try:
        lengths = {name: len(split) for name, split in loaded.items()}
        parts = datasets.ReadInstruction.from_spec(expression).to_absolute(lengths)
    except (ValueError, AssertionError) as error:
        raise DataError(
            f"{expression!r} is not a split expression: {error}",
            where=where,
            todo="Write for example train[:95%] or train[1000:2000].",
        ) from error
    rows = [loaded[part.splitname].select(range(part.from_, part.to)) for part in parts]
    taken = rows[0] if len(rows) == 1 else datasets.concatenate_datasets(rows)
    if not len(taken):
        held = ", ".join(f"{name} has {len(loaded[name])} rows" for name in names)
        raise DataError(f"the split {expression!r} is empty ({held})", where=where, todo="Ask for more rows.")
    return taken


def find_folders(recipe: Recipe) -> list[str]:
    """List where relative file names in a column may start: the folders the data files lie in."""
    spec = recipe.data
    path = Path(spec.path).expanduser()
    root = path if path.is_dir() else path.parent if path.is_file() else Path()
    folders = [root / (spec.data_dir or "")] if path.exists() or spec.data_dir else []
    for pattern in _patterns(spec.data_files):
        plain = Path(pattern.split("*")[0])
        folders.append(root / (plain if plain.is_dir() else plain.parent))
    return list(dict.fromkeys(str(folder.resolve()) for folder in folders if folder.is_dir()))


def find_empty_folders(recipe: Recipe) -> list[str]:
    """Name the empty folders, a sentence each: `datasets` makes no class of them, and says nothing.

    Args:
        recipe: `data.path` is looked at two levels deep, as in `train/cat`.
    """
    root = Path(recipe.data.path).expanduser()
    upper = _visible_folders(root) if root.is_dir() else []
    folders = [*upper, *(lower for folder in upper for lower in _visible_folders(folder))]
    return [f"{folder}: an empty folder" for folder in folders if not any(folder.iterdir())]


def _visible_folders(folder: Path) -> list[Path]:
    # scandir knows what is a folder without asking for each of a million files
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and not e.name.startswith("."))


def _refuse_other_revision(fetched: datasets.DatasetDict, spec: Any, where: str) -> None:
    """Without the network `datasets` takes the newest copy in its cache, whatever revision was asked for."""
    if spec.revision is None or is_reachable():
        return
    files = next(iter(fetched.values())).cache_files
    cached = Path(files[0]["filename"]).parent.name if files else ""  # the folder is named by the commit
    if len(cached) == 40 and cached != find_cached_commit("dataset", spec.path, spec.revision):
        raise HubError(
            f"the Hub cannot be reached, and the cached copy of {spec.path!r} is of revision {cached}",
            where=where,
            todo="Connect to fetch the revision you want, or name the cached one in data.revision.",
        )


def _refuse(recipe: Recipe, keys: list[str], why: str) -> None:
    """Refuse keys that would be ignored."""
    for key in keys:
        if getattr(recipe.data, key):
            raise DataError(
                f"data.{key} means nothing {why}", where=recipe.where(f"data.{key}"), todo="Take it out."
            )


def _refuse_redacted(recipe: Recipe) -> None:
    """Ask for what was left out when the recipe of a run was written down, such as the signature of a URL."""
    for key, value in flatten_keys(recipe.data.model_dump(), prefix="data.").items():
        if HIDDEN in str(value):
            raise DataError(
                f"{key}: a secret was left out here when this recipe was written down",
                where=recipe.where(key),
                todo=f"Give the whole value again: {key}=VALUE.",
            )


def _check_options(recipe: Recipe) -> dict[str, Any]:
    taken = sorted(OTHER_KEYS & recipe.data.options.keys())
    if taken:
        raise DataError(
            f"data.options cannot hold {taken[0]!r}",
            where=recipe.where(f"data.options.{taken[0]}"),
            todo="The keys of data itself say it.",
        )
    return recipe.data.options


def _patterns(data_files: Any) -> list[str]:
    if data_files is None:
        return []
    if isinstance(data_files, str):
        return [data_files]
    items = data_files.values() if isinstance(data_files, dict) else data_files
    return [pattern for item in items for pattern in _patterns(item)]


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _builder_of(path: Path, where: str) -> str:
    if path.suffix.lower() in BUILDER_OF_SUFFIX:
        return BUILDER_OF_SUFFIX[path.suffix.lower()]
    raise DataError(
        f"{path} is of no known kind",
        where=where,
        todo=f"Known suffixes: {', '.join(sorted(BUILDER_OF_SUFFIX))}; for other text files name a builder.",
    )


def _not_there(path: Path, where: str) -> DataError:
    parent = path.parent
    near = (
        difflib.get_close_matches(path.name, [p.name for p in parent.iterdir()], n=1)
        if parent.is_dir()
        else []
    )
    todo = f"Did you mean {parent / near[0]}?" if near else f"Relative paths start at {Path.cwd()}"
    return DataError(f"there is nothing at {path}", where=where, todo=todo)


def _refuse_nothing(name: str, path: Path, spec: Any, where: str) -> None:
    """Refuse what `datasets` would answer with a page of its own internals."""
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"the folder {path} is empty", where=where, todo="Check the path.")
    if not path.is_dir() and spec.data_files is None and spec.data_dir is None:
        raise DataError(
            f"{name!r} is a way of reading files, not a data set",
            where=where,
            todo="Name the files in data.data_files or data.data_dir.",
        )
