"""A recipe's `data` -> named splits of a `datasets.DatasetDict`, wherever they are."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from datasets.exceptions import DatasetGenerationError

from hf_finetune.data.archives import ARCHIVE_ERRORS
from hf_finetune.data.kinds import BUILDER_OF_SUFFIX, BUILDERS, is_archive, is_table
from hf_finetune.data.layout import name_splits
from hf_finetune.data.local import LocalFiles, list_patterns
from hf_finetune.data.sound_files import sounds_as_files
from hf_finetune.data.table_cache import load_tables
from hf_finetune.errors import DataError, HubError
from hf_finetune.formatting import flatten_keys, offer
from hf_finetune.hub_access import find_cached_commit, is_path, is_reachable, reading_hub
from hf_finetune.secrecy import HIDDEN

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["find_folders", "load_splits", "take_split"]

OTHER_KEYS = {"data_dir", "data_files", "name", "num_proc", "path", "revision", "split", "streaming"}


def load_splits(recipe: Recipe, *, is_labelled: bool = True) -> datasets.DatasetDict:
    """Load all splits there are; rows stay on disk, and of files in class folders the names are in memory.

    `data.path` is a folder that `save_to_disk` wrote, a folder of files (also one with a sub-folder for each
    class), a single file, the name of a builder of `datasets` ("imagefolder", "csv" ...) with `data_files` or
    `data_dir`, or the id of a data set on the Hub.

    Args:
        recipe: As `load_recipe` returns it.
        is_labelled: False reads no classes from the names of folders.

    Raises:
        DataError: There is nothing at a local path, or what is there cannot be read.
        HubError: See `reading_hub`.
    """
    _refuse_redacted(recipe)
    spec = recipe.data
    where = recipe.where("data.path")
    path = Path(spec.path).expanduser()
    _check_options(recipe)
    try:
        with sounds_as_files():
            return _load(recipe, path, is_labelled)
    except DatasetGenerationError as error:
        raise DataError(
            f"{spec.path} cannot be read: {error.__cause__ or error}",
            where=where,
            todo=_mend(error.__cause__),
        ) from error
    except (FileNotFoundError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise DataError(f"no data at {spec.path}: {error}", where=where, todo="Check the path.") from error
    except ARCHIVE_ERRORS as error:
        raise DataError(
            f"{spec.path} cannot be unpacked: {error}", where=where, todo="Make the archive anew."
        ) from error
    except OSError as error:
        # an error without a number is pyarrow's, of a damaged file
        if error.errno is not None and not isinstance(error, PermissionError):
            raise
        raise DataError(
            f"{spec.path} cannot be read: {error}", where=where, todo="Check the file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{spec.path} cannot be read: {error}", where=where, todo=_mend(error)) from error
    except ValueError as error:
        told = "there is no row in it" if "corresponds to no data" in str(error) else str(error)
        raise DataError(f"{spec.path} cannot be loaded: {told}", where=where) from error
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None or unknown[1] not in spec.options:
            raise
        raise DataError(
            f"{spec.path} cannot be loaded: datasets has no option {unknown[1]!r} for it",
            where=recipe.where(f"data.options.{unknown[1]}"),
            todo="Check the spelling, or take it out.",
        ) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise DataError(
            f"{spec.path} is read by a script of its own, which datasets does not run any more",
            where=where,
            todo="Name its files in data.data_files; many a data set of the Hub has them as parquet: "
            "data: {revision: refs/convert/parquet}.",
        ) from error


def _load(recipe: Recipe, path: Path, is_labelled: bool) -> datasets.DatasetDict:
    spec, where = recipe.data, recipe.where("data.path")
    if _is_saved(path):
        _refuse(recipe, ["name", "revision", "data_dir", "data_files", "options"], "for a saved data set")
        loaded = datasets.load_from_disk(str(path))
        return loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict(train=loaded)
    if path.is_file():
        _refuse(recipe, ["revision", "data_dir", "data_files"], "for a single file")
        _require_known(path, where)
        return LocalFiles(recipe, find_folders(recipe), is_labelled=is_labelled).load_file(path)
    names_files = spec.data_files is not None or spec.data_dir is not None
    builder = spec.path if spec.path in BUILDERS and (names_files or not path.is_dir()) else None
    if path.is_dir() or builder is not None:
        _refuse(recipe, ["revision"], "for local files")
        if builder is not None and not names_files:
            raise DataError(
                f"{spec.path!r} is a way of reading files, not a data set",
                where=where,
                todo="Name the files in data.data_files or data.data_dir.",
            )
        base = (Path() if builder else path) / Path(spec.data_dir or "").expanduser()
        if any("://" in pattern for pattern in _patterns(recipe)) or (
            spec.data_files is None and _has_own_configs(base)
        ):
            return _load_by_library(recipe)
        if not base.is_dir():
            raise _not_there(base, recipe.where("data.data_dir"))
        local = LocalFiles(recipe, find_folders(recipe), is_labelled=is_labelled)
        if spec.data_files is None:
            return local.load_folder(base, builder=builder)
        return local.load_patterns(base, builder=builder)
    if is_path(spec.path) or path.suffix in BUILDER_OF_SUFFIX:
        raise _not_there(path, where)
    with reading_hub("dataset", spec.path, revision=spec.revision, where=where):
        fetched = _load_by_library(recipe)
    _refuse_other_revision(fetched, spec, where)
    return fetched


def _load_by_library(recipe: Recipe) -> datasets.DatasetDict:
    """Load what is not made of files on this disk, or says itself which file is which split."""
    spec = recipe.data
    return load_tables(
        str(Path(spec.path).expanduser()) if Path(spec.path).expanduser().exists() else spec.path,
        place=spec.path,
        name=spec.name,
        revision=spec.revision,
        data_dir=spec.data_dir,
        data_files=spec.data_files,
        **spec.options,
    )


def _mend(cause: BaseException | None) -> str:
    if isinstance(cause, UnicodeDecodeError):
        return "Save it as UTF-8, or say its encoding, such as data: {options: {encoding: latin-1}}."
    return "Repair the file, or name the files to read in data.data_files."


def take_split(loaded: datasets.DatasetDict, expression: str, *, where: str) -> datasets.Dataset:
    """Return the rows of a split expression: "train", "train[:95%]", "train[10:20]+test".

    Raises:
        DataError: The expression is malformed, names a split that is not there, or has no row.
    """
    names = name_splits(expression)
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
    for pattern in _patterns(recipe):
        plain = Path(pattern.split("*")[0])
        folders.append(root / (plain if plain.is_dir() else plain.parent))
    return list(dict.fromkeys(str(folder.resolve()) for folder in folders if folder.is_dir()))


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


def _check_options(recipe: Recipe) -> None:
    taken = sorted(OTHER_KEYS & recipe.data.options.keys())
    if taken:
        raise DataError(
            f"data.options cannot hold {taken[0]!r}",
            where=recipe.where(f"data.options.{taken[0]}"),
            todo="The keys of data itself say it.",
        )


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _patterns(recipe: Recipe) -> list[str]:
    if recipe.data.data_files is None:
        return []
    return [pattern for patterns in list_patterns(recipe.data.data_files).values() for pattern in patterns]


def _has_own_configs(folder: Path) -> bool:
    """Whether a folder is a copy of a data set of the Hub, whose README says which files are which split."""
    readme = folder / "README.md"
    if not readme.is_file():
        return (folder / ".huggingface.yaml").is_file()
    head = re.match(r"---\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    return head is not None and re.search(r"^configs:", head[1], re.MULTILINE) is not None


def _require_known(path: Path, where: str) -> None:
    if not is_table(path.name) and not is_archive(path.name):
        raise DataError(
            f"{path} is of no known kind",
            where=where,
            todo=f"Known suffixes: {', '.join(sorted(BUILDER_OF_SUFFIX))}, .tar, .tar.gz, .zip; "
            "for other text files name a builder.",
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
