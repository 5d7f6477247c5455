"""Tables whose rows are parts of long files, as in manifests of NeMo: which columns say which parts."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.fingerprint import Hasher

from hf_finetune.errors import DataError
from hf_finetune.formatting import offer
from hf_finetune.tasks.audio_cuts import CUT
from hf_finetune.tasks.features import describe_feature, label_kind

if TYPE_CHECKING:
    from hf_finetune.data.prepare import PreparedSplit
    from hf_finetune.recipe import Recipe
    from hf_finetune.tasks.base import Task

__all__ = [
    "BOUNDS",
    "add_bounds",
    "find_bounds",
    "find_known_bounds",
    "hash_bounds",
    "list_bounds",
    "read_words",
    "refuse_nested",
    "refuse_shorter_rows",
]

logger = logging.getLogger(__name__)

BOUNDS = ("start", "duration", "end")
"""Roles of the columns that say which part of its file a row is."""
STARTS = (
    "offset",
    "onset",
    "start",
    "begin",
    "start_time",
    "begin_time",
    "start_s",
    "start_sec",
    "start_seconds",
    "segment_start",
    "seg_start",
    "start_timestamp",
)
ENDS = (
    "end",
    "stop",
    "end_time",
    "stop_time",
    "end_s",
    "end_sec",
    "end_seconds",
    "segment_end",
    "seg_end",
    "end_timestamp",
)
DURATIONS = ("duration", "dur", "duration_s", "duration_sec", "duration_seconds", "segment_duration")
OTHER_UNITS = re.compile(r"_?(ms|msec|millis|milliseconds)$")
"""A start in another unit is a start all the same, and is asked about."""
NESTED = ("recording", "supervisions", "sources")
"""Of Lhotse."""
SLACK_S, SLACK = 0.1, 0.02
"""A column that says how long a file is may round it, and an encoder may pad it."""


def list_bounds(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return role -> column of those that say which part of its file a row is."""
    return {role: columns[role] for role in BOUNDS if columns.get(role)}


def find_bounds(
    task: Task,
    rows: datasets.Dataset,
    named: Mapping[str, str | None],
    taken: Mapping[str, str],
    *,
    where: str,
    is_table_alone: bool = False,
) -> dict[str, str]:
    """Return role -> column of the bounds of each row: those that are named, or those of a manifest of NeMo.

    Args:
        task: Whether it is of sounds.
        rows: A split.
        named: The recipe's `data.columns`; null says that the rows are whole files.
        taken: Role -> column, as found so far.
        where: The recipe's `data.columns`, or the table.
        is_table_alone: Whether there is no recipe to name columns in: for messages.

    Raises:
        DataError: A column is no number, two say the same, or some look like bounds and nobody says so.
    """
    if task.modality != "audio":
        return {}
    found = list_bounds(named)
    if found:
        _require_numbers(rows, found, where)
    if any(role in named for role in BOUNDS):
        return found
    sound = taken.get(task.roles[0].name)
    kinds = {
        column: kind[0]
        for column, feature in rows.features.items()
        if column not in taken.values() and (kind := label_kind(feature)) and not kind[1]
    }
    free = {column.lower(): column for column, kind in kinds.items() if kind in ("integer", "float")}
    bounds = {  # also those that have to be written otherwise: "00:01:02.5", or milliseconds
        OTHER_UNITS.sub("", column.lower()): column
        for column, kind in kinds.items()
        if kind in ("integer", "float", "text")
    }
    starts = [bounds[name] for name in STARTS if name in bounds and _says_something(rows, bounds[name])]
    ends = [bounds[name] for name in ENDS if name in bounds]
    durations = [free[name] for name in DURATIONS if name in free]
    if starts == ["offset"] and durations == ["duration"] and not ends and sound == "audio_filepath":
        logger.info("audio: parts of files, from 'offset' for 'duration' (a manifest of NeMo, in seconds)")
        return {"start": "offset", "duration": "duration"}
    if not starts and not ends:
        return {}
    guess = {"start": starts[:1], "end": ends[:1], "duration": [] if ends else durations[:1]}
    pairs = ", ".join(f"{role}: {columns[0]}" for role, columns in guess.items() if columns)
    listed = " and ".join(repr(column) for column in (*starts, *ends))
    words = ",".join(f"{role}={columns[0]}" for role, columns in guess.items() if columns)
    say = (
        f"Say so by --column {task.roles[0].name}={sound},{words}; or by --column start="
        if is_table_alone
        else f"Say so: data: {{columns: {{{pairs}}}}}; or {{start: null}}"
    )
    odd = [c for c in (*starts, *ends) if c.lower() not in free or OTHER_UNITS.search(c.lower())]
    first = f"Write {' and '.join(map(repr, odd))} as numbers of seconds first. " if odd else ""
    looks = "look" if len([*starts, *ends]) > 1 else "looks"
    raise DataError(
        f"is each row a part of its file? {listed} {looks} like it, and nothing says so",
        where=where,
        todo=f"{first}{say} where each row is a whole file.",
    )


def add_bounds(
    rows: datasets.Dataset, column: str, columns: Mapping[str, str], *, where: str
) -> datasets.Dataset:
    """Return the rows with the bounds of each beside what its input column holds, under "cut".

    A file name becomes {"path", "cut"}, the content of a file {"bytes", "cut"}; fields get one more.

    Args:
        rows: A split.
        column: Its input column.
        columns: Role -> column.
        where: The recipe's `data.columns`, or the table.

    Raises:
        DataError: The bounds are no numbers.
    """
    bounds = list_bounds(columns)
    if not bounds:
        return rows
    _require_numbers(rows, bounds, where)
    feature = rows.features[column]
    if getattr(feature, "decode", False):
        rows = rows.cast_column(column, type(feature)(decode=False))
    table = rows.with_format("arrow")[:]
    sounds = table[column]
    numbers = [pc.cast(table[name], pa.float64()).combine_chunks() for name in bounds.values()]
    chunks, at = [], 0
    for chunk in sounds.chunks:
        if pa.types.is_struct(chunk.type):
            names = [chunk.type.field(i).name for i in range(chunk.type.num_fields)]
            fields = dict(zip(names, chunk.flatten(), strict=True))
        else:
            fields = {"path" if label_kind(feature) == ("text", False) else "bytes": chunk}
        own = pa.StructArray.from_arrays([one.slice(at, len(chunk)) for one in numbers], list(bounds))
        chunks.append(pa.StructArray.from_arrays([*fields.values(), own], [*fields, CUT]))
        at += len(chunk)
    table = table.set_column(table.column_names.index(column), column, pa.chunked_array(chunks))
    bare = table.replace_schema_metadata(None)
    own_feature = datasets.Features.from_arrow_schema(bare.select([column]).schema)[column]
    return datasets.Dataset(
        datasets.table.InMemoryTable(bare),
        info=datasets.DatasetInfo(features=datasets.Features({**rows.features, column: own_feature})),
        split=rows.split,
        fingerprint=Hasher.hash([rows._fingerprint, column, bounds]),
    )


def hash_bounds(rows: datasets.Dataset, column: str) -> str:
    """Return what identifies the bounds in a column that `add_bounds` made; nothing of another."""
    feature = rows.features[column]
    if not isinstance(feature, dict) or CUT not in feature:
        return ""
    bounds = pc.struct_field(rows.select_columns(column).with_format("arrow")[:][column], CUT)
    return hashlib.sha256(repr(bounds.to_pylist()).encode()).hexdigest()


def read_words(column: str | None, role: str, rows: datasets.Dataset, *, where: str) -> dict[str, str | None]:
    """Return role -> column of what the user says of a table: a name, or `audio=file,start=offset,duration=`.

    Args:
        column: As given.
        role: Of the input column.
        rows: Of the table.
        where: The table.

    Raises:
        DataError: There is no such role or column.
    """
    if column is None:
        return {}
    named: dict[str, str | None] = {role: column}
    if column not in rows.column_names and "=" in column:
        pairs = [word.partition("=") for word in column.split(",")]
        named = {name.strip(): value.strip() or None for name, _, value in pairs}
        unknown = next((name for name in named if name not in (role, *BOUNDS)), None)
        if unknown is not None:
            known = (role, *BOUNDS)
            raise DataError(
                f"{unknown!r} is no role of a column here", where=where, todo=offer(unknown, known)
            )
    for name in named.values():
        if name is not None and name not in rows.column_names:
            raise DataError(
                f"it has no column {name!r}", where=where, todo=offer(name, rows.column_names, "Its columns")
            )
    return named


def find_known_bounds(
    known: Mapping[str, str | None], rows: datasets.Dataset, *, where: str
) -> dict[str, str | None]:
    """Return which of the bounds that a model was trained with are in another table: all of them, or none.

    Raises:
        DataError: Only some of them are.
    """
    bounds = list_bounds(known)
    there = [column for column in bounds.values() if column in rows.column_names]
    if there and len(there) < len(bounds):
        missing = next(column for column in bounds.values() if column not in there)
        raise DataError(
            f"it has a column {there[0]!r} and none {missing!r}, and the model was trained on parts of files "
            "that both say",
            where=where,
            todo="Add it, or say --column start= where each row is a whole file.",
        )
    is_said = {role: None for role in BOUNDS if role in known and known[role] is None}
    return {**is_said, **(bounds if there else {})}


def refuse_nested(rows: datasets.Dataset, named: str | None, *, where: str) -> None:
    """Refuse a manifest of Lhotse, whose sounds and texts lie deeper than columns do.

    Raises:
        DataError: It is one.
    """
    nested = [
        name for name in NESTED if isinstance(rows.features.get(name), dict | list) or _is_list(rows, name)
    ]
    if nested and (named is None or named in nested):
        raise DataError(
            f"this is a manifest of Lhotse: sound and text are nested in {' and '.join(map(repr, nested))}",
            where=where,
            todo="Write it flat, a line each: audio (recording.sources[0].source), start, duration, and text "
            "(supervisions[0].text); then data: {columns: {audio: audio, start: start, duration: duration}}.",
        )


def refuse_shorter_rows(
    name: str, split: PreparedSplit, columns: Mapping[str, str], recipe: Recipe, task: Task, processor: Any
) -> None:
    """Refuse a column `duration` that nobody named and that is of less than the files hold.

    Args:
        name: Of the split.
        split: Prepared.
        columns: Role -> column.
        recipe: Reads `data.columns`.
        task: Whether it is of sounds.
        processor: Knows the rate of the prepared clips.

    Raises:
        DataError: A row's duration is that of a part of its file.
    """
    free = [c for c in split.source.column_names if c.lower() in DURATIONS and c not in columns.values()]
    lengths, is_told = split.lengths(), any(role in recipe.data.columns for role in BOUNDS)
    if task.modality != "audio" or is_told or list_bounds(columns) or lengths is None or len(free) != 1:
        return
    if label_kind(split.source.features[free[0]]) not in (("integer", False), ("float", False)):
        return
    told = split.source.select_columns(free).with_format("arrow")[:][free[0]].to_numpy().astype(float)
    seconds = lengths / processor.sampling_rate
    shorter = np.flatnonzero((seconds > told + np.maximum(SLACK_S, SLACK * seconds)) & (told > 0))
    if len(shorter):
        row = int(shorter[0])
        raise DataError(
            f"{name} row {row}: the column {free[0]!r} says {told[row]:g}, and the file has "
            f"{seconds[row]:.6g} s: is each row a part of its file?",
            where=recipe.where("data.columns"),
            todo=f"Say so: data: {{columns: {{duration: {free[0]}}}}}, with a start if it has one, or "
            "{duration: null} where each row is a whole file.",
        )


def _require_numbers(rows: datasets.Dataset, found: Mapping[str, str], where: str) -> None:
    for role, column in found.items():
        if label_kind(rows.features[column]) not in (("integer", False), ("float", False)):
            held = describe_feature(rows.features[column])
            raise DataError(
                f"the column {column!r} ({role}) holds {held}, not numbers",
                where=where,
                todo="Write seconds, or samples with task: {time_unit: samples}.",
            )
    if "duration" in found and "end" in found:
        raise DataError(
            f"the columns {found['duration']!r} (duration) and {found['end']!r} (end) say the same",
            where=where,
            todo="Name one of the two.",
        )


def _says_something(rows: datasets.Dataset, column: str) -> bool:
    """Tell whether a start is anything but 0."""
    values = rows.select_columns(column).with_format("arrow")[:][column]
    return any(value for value in values.unique().to_pylist())


def _is_list(rows: datasets.Dataset, name: str) -> bool:
    feature = rows.features.get(name)
    is_list = isinstance(feature, datasets.List | datasets.LargeList)
    return is_list and isinstance(feature.feature, dict)
