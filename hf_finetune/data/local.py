"""Data sets on disk: folders, single files and the patterns of `data.data_files`, with nothing lost unsaid.

Which files there are, which split each is of and which are not used is decided here, and said. `datasets`
gets the names of the files, never a folder or a pattern to make guesses about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import datasets

from hf_finetune.data.archives import check_tar, unpack
from hf_finetune.data.files import count_suffixes, find_files, list_files, tell_files
from hf_finetune.data.folders import Item, MediaFolder, load_files, read_classes, read_metadata
from hf_finetune.data.kinds import ARCHIVES, MEDIUM_OF, METADATA, find_kind, is_archive, is_table
from hf_finetune.data.layout import divide, name_splits
from hf_finetune.data.tables import check_csv, check_json, choose_separator, divide_tables
from hf_finetune.errors import DataError
from hf_finetune.formatting import list_some
from hf_finetune.tasks import TASKS

if TYPE_CHECKING:
    from hf_finetune.recipe import Recipe

__all__ = ["EVAL_NAMES", "LocalFiles", "list_patterns"]

logger = logging.getLogger(__name__)

EVAL_NAMES = ("validation", "valid", "val", "dev", "eval")
"""Splits that are evaluated on where the recipe names none."""
OWN_OPTIONS = {"drop_labels", "drop_metadata", "metadata_filenames"}
"""Options of the folder builders that class folders are read by as well."""


class LocalFiles:
    """What a recipe's `data` says of files on disk.

    Args:
        recipe: Its task says whether pictures or sounds are meant, where a folder has both.
        folders: Where relative names of files may start.
        is_labelled: Whether labels are needed; `predict` reads none, and has no recipe to change.
    """

    def __init__(self, recipe: Recipe, folders: Sequence[str], *, is_labelled: bool) -> None:
        self.recipe, self.spec, self.folders, self.is_labelled = recipe, recipe.data, folders, is_labelled
        self.where = recipe.where("data.path")
        self.options: dict[str, Any] = {**recipe.data.options}
        self.task = TASKS.get(recipe.task.name, where=recipe.where("task"))
        self.stops = is_labelled and self.spec.bad_rows == "stop"
        names = set(self.options.get("metadata_filenames") or METADATA)
        self.metadata = set() if self.options.get("drop_metadata") else names

    def load_folder(
        self, folder: Path, *, builder: str | None = None, what: str = ""
    ) -> datasets.DatasetDict:
        """Load a folder: splits and classes by its layout, or tables by their names.

        Args:
            folder: The folder.
            builder: As the recipe names it; None finds out by the files.
            what: The folder as the user knows it.

        Raises:
            DataError: There is nothing to read, or something would be lost or misread.
        """
        what = what or str(folder)
        listing = list_files(folder, where=self.where)
        self._check_links(listing.broken, what)
        for empty in listing.empty if listing.files else ():
            logger.info("%s: an empty folder", PurePosixPath(what) / empty)
        if not listing.files and listing.left_out():
            told = ", ".join(listing.left_out())
            raise DataError(
                f"there is no file in {what}, but {told}", where=self.where, todo="Check the path."
            )
        kind, used = self._find_kind(listing.files, builder, what, is_named=False)
        left_out: list[str] = []
        if kind in MEDIUM_OF:
            layout = divide(used, what=what, where=self.where, takes_options=self.is_labelled)
            splits = layout.splits
            if len(splits) == 1 and self._have_metadata(layout.stray):
                next(iter(splits.values())).update((name, name) for name in layout.stray)
            elif layout.stray:
                left_out = self._leave_stray(layout.stray, list(splits), what)
            for note in layout.notes:
                logger.info(note)
        else:
            divided = divide_tables(used, what=what, where=self.where, takes_options=self.is_labelled)
            splits = {split: dict(zip(names, names, strict=True)) for split, names in divided.items()}
        items = {
            split: [
                Item(path=path, rest=rest)
                for path, rest in zip(listing.paths(rests), rests.values(), strict=True)
            ]
            for split, rests in splits.items()
        }
        chosen = set(used)
        unused = [name for name in listing.files if name not in chosen]
        left_out += [*count_suffixes(unused), *listing.left_out()]
        loaded = self._load(kind, items, builder, what, len(listing.files) + len(listing.broken), left_out)
        tables = [name for name in unused if is_table(name) and PurePosixPath(name).name not in METADATA]
        for name in tables if kind in MEDIUM_OF and len(tables) < 4 else ():
            logger.info("%s/%s is a table, and not read: name it in data.path if it is the data", what, name)
        return loaded

    def load_file(self, path: Path) -> datasets.DatasetDict:
        """Load a single table, or an archive as the folder that it holds.

        Raises:
            DataError: It cannot be read, or would be misread.
        """
        if is_archive(path.name):
            return self.load_folder(unpack(path, where=self.where), what=str(path))
        kind, _ = find_kind([path.name])
        return self._load_tables(kind, {"train": [str(path.absolute())]})

    def load_patterns(self, base: Path, *, builder: str | None) -> datasets.DatasetDict:
        """Load what the patterns of `data.data_files` find.

        A single archive is read as the folder that it holds. In a pattern such as pets/** the folders in pets
        are classes, whatever their names; the files of pets/cat/*.png are all of the class cat.

        Args:
            base: Where relative patterns start.
            builder: As the recipe names it; None finds out by the files.

        Raises:
            DataError: A pattern finds nothing, or something would be lost or misread.
        """
        place = self.recipe.where("data.data_files")
        items: dict[str, list[Item]] = {}
        for split, patterns in list_patterns(self.spec.data_files).items():
            found: dict[str, Item] = {}
            for pattern in patterns:
                listing, names = find_files(pattern, base, where=place)
                self._check_links(listing.broken, pattern)
                # where no file has a folder of its own, the folder that all are in is the class
                label = None if any("/" in name for name in names) else listing.root.name
                for path, name in zip(listing.paths(names), names, strict=True):
                    found.setdefault(path, Item(path=path, rest=name, label=label))
            items[split] = list(found.values())
        paths = [item.path for rows in items.values() for item in rows]
        kind, used = self._find_kind(paths, builder, "data.data_files", is_named=True)
        if kind == ARCHIVES and len(paths) == 1 and not isinstance(self.spec.data_files, dict):
            root = unpack(Path(paths[0]), where=place)
            return self.load_folder(root, builder=builder, what=paths[0])
        chosen = set(used)
        left_out = count_suffixes([path for path in paths if path not in chosen])
        rows = {
            split: [item for item in of_split if item.path in chosen] for split, of_split in items.items()
        }
        return self._load(kind, rows, builder, "data.data_files", len(paths), left_out)

    def _load_archives(
        self, archives: Mapping[str, Sequence[Item]], builder: str | None
    ) -> datasets.DatasetDict:
        """Load the files of archives, each of which is of one split."""
        items: dict[str, list[Item]] = {}
        for split, of_split in archives.items():
            for archive in of_split:
                listing = list_files(unpack(Path(archive.path), where=self.where), where=self.where)
                named = zip(listing.paths(listing.files), listing.files, strict=True)
                items.setdefault(split, []).extend(Item(path=path, rest=name) for path, name in named)
        what = list_some([Path(item.path).name for of_split in archives.values() for item in of_split], 3)
        paths = [item.path for rows in items.values() for item in rows]
        kind, used = self._find_kind(paths, builder, what, is_named=False)
        chosen = set(used)
        left_out = count_suffixes([path for path in paths if path not in chosen])
        rows = {
            split: [item for item in of_split if item.path in chosen] for split, of_split in items.items()
        }
        return self._load(kind, rows, None, what, len(paths), left_out)

    def _load(
        self,
        kind: str,
        items: Mapping[str, Sequence[Item]],
        builder: str | None,
        what: str,
        num_files: int,
        left_out: list[str],
    ) -> datasets.DatasetDict:
        """Load files that are all of one kind, and say how many there are and how many are used."""
        if kind == ARCHIVES:
            return self._load_archives(items, builder)
        paths = {split: [item.path for item in rows] for split, rows in items.items()}
        num_used = sum(map(len, paths.values()))
        lost: list[str] = []
        notes: list[str] = []
        if kind not in MEDIUM_OF:
            loaded = self._load_tables(kind, paths)
        elif any(
            PurePosixPath(path).name in self.metadata for of_split in paths.values() for path in of_split
        ):
            self._check_csv(
                [path for of_split in paths.values() for path in of_split if path.endswith(".csv")],
                self.options,
                ["file_name", *(role.name for role in self.task.roles[1:])],
                takes_options=False,
            )
            loaded, lost, num_lost = read_metadata(paths, self._folder(kind, what), self.options)
            num_used -= num_lost
        else:
            loaded, lost, notes = self._read_classes(items, self._folder(kind, what))
            num_used = sum(map(len, loaded.values()))
        logger.info(tell_files(what, num_files, num_used, [*lost, *left_out]))
        for note in notes:
            logger.info(note)
        return loaded

    def _find_kind(
        self, names: Sequence[str], builder: str | None, what: str, *, is_named: bool
    ) -> tuple[str, list[str]]:
        """Do as `find_kind`, and refuse files that are for nothing."""
        kind, used = find_kind(
            names, builder=builder, modality=self.task.modality, metadata=self.metadata, is_named=is_named
        )
        if not used:
            there = f"; it holds {', '.join(count_suffixes(names)[:5])}" if names else ""
            medium = MEDIUM_OF.get(builder or "")
            wanted = {"image": "picture", "audio": "sound"}.get(medium or "", "picture, sound or table")
            raise DataError(
                f"there is no {wanted} in {what}{there}" if names else f"the folder {what} is empty",
                where=self.where,
                todo="Check the path.",
            )
        return kind, used

    def _folder(self, kind: str, what: str) -> MediaFolder:
        given = self.spec.splits
        usual = "+".join(EVAL_NAMES)
        used = [text for text in (given.train, given.eval or usual, given.test) if text]
        return MediaFolder(
            medium=MEDIUM_OF[kind],
            what=what,
            wanted=frozenset(name for text in used for name in name_splits(text)),
            drop=not self.stops,
            is_labelled=self.is_labelled and not self.options.get("drop_labels"),
            where=self.where,
        )

    def _read_classes(
        self, items: Mapping[str, Sequence[Item]], folder: MediaFolder
    ) -> tuple[datasets.DatasetDict, list[str], list[str]]:
        others = sorted(self.options.keys() - OWN_OPTIONS)
        if not others:
            return read_classes(items, folder)
        depths = {item.rest.count("/") for rows in items.values() for item in rows}
        if depths != {1} and folder.is_labelled:
            raise DataError(
                f"data.options.{others[0]} goes to {folder.builder} of datasets, for which the class is the "
                "folder right above a file; here files lie at other depths",
                where=self.recipe.where(f"data.options.{others[0]}"),
                todo="Take it out, or put all files of a class into one folder.",
            )
        paths = {split: [item.path for item in rows] for split, rows in items.items()}
        return load_files(folder.builder, paths, self.options, place=folder.what), [], []

    def _have_metadata(self, names: Iterable[str]) -> bool:
        return any(PurePosixPath(name).name in self.metadata for name in names)

    def _load_tables(self, builder: str, splits: Mapping[str, Sequence[str]]) -> datasets.DatasetDict:
        options = {"name": self.spec.name, **self.options}
        paths = [path for of_split in splits.values() for path in of_split]
        if builder == "csv":
            options |= choose_separator(paths, self.options, where=self.where)
            roles = [role.name for role in self.task.roles]
            self._check_csv(paths, options, roles, takes_options=self.is_labelled)
        for path in paths if builder == "webdataset" else ():
            check_tar(Path(path), where=self.where)
        loaded = load_files(builder, splits, options, place=self.spec.path)
        if builder == "json" and "field" not in options:
            check_json(loaded, where=self.where)
        return loaded

    def _check_csv(
        self, paths: Sequence[str], options: Mapping[str, Any], roles: Sequence[str], *, takes_options: bool
    ) -> None:
        columns = [column for column in self.spec.columns.values() if column]  # null: there is none
        check_csv(
            paths, options, columns=columns, roles=roles, exists=self._exists, takes_options=takes_options
        )

    def _exists(self, cell: str) -> bool:
        """Whether a cell is the name of a file; a word without a slash or a dot is none."""
        is_name = bool({"/", "."} & set(cell)) and len(cell) < 1000 and "\0" not in cell
        return is_name and any((Path(folder) / cell).is_file() for folder in (*self.folders, ""))

    def _check_links(self, broken: Sequence[str], what: str) -> None:
        if broken and self.stops:
            links = "a broken link" if len(broken) == 1 else f"{len(broken):,} broken links"
            raise DataError(
                f"{what}: {links}: {list_some(broken, 5)}",
                where=self.where,
                todo="Mend or remove what leads nowhere, or leave it out by data: {bad_rows: drop}.",
            )

    def _leave_stray(self, stray: Sequence[str], splits: Sequence[str], what: str) -> list[str]:
        """Refuse files beside the folders of splits, or say that they are left out."""
        told = f"{list_some(stray, 3)} beside the folders of the splits ({', '.join(splits)})"
        if (is_described := self._have_metadata(stray)) or self.stops:
            todo = "Move what is to be used into a split, or leave it out by data: {bad_rows: drop}."
            split = "Put a table of metadata into the folder of each split, with the files that it names."
            raise DataError(f"{what}: {told}", where=self.where, todo=split if is_described else todo)
        return [told]


def list_patterns(data_files: Any) -> dict[str, list[str]]:
    """Return the patterns of each split; what names no split is for training."""
    if not isinstance(data_files, dict):
        data_files = {"train": data_files}
    return {split: [files] if isinstance(files, str) else list(files) for split, files in data_files.items()}
