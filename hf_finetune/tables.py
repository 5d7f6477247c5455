"""A parquet file written batch by batch, whose schema no single batch decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["TableWriter", "to_table"]


def to_table(rows: Iterable[Mapping[str, Any]], types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Return rows as a table with every column that any of them has; `from_pylist` takes the first row's.

    Example:
        >>> to_table([{"a": 1}, {"a": 2.5, "b": "x"}]).to_pylist()
        [{'a': 1.0, 'b': None}, {'a': 2.5, 'b': 'x'}]
    """
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    known = types or {}
    return pa.table({name: pa.array([row.get(name) for row in rows], known.get(name)) for name in names})


class TableWriter:
    """Writes batches of columns to parquet.

    A batch may say little about a column (all None, all lists empty), or less than a later one (whole numbers
    before others, a column that comes later). What the types say of a column holds; where a later batch needs
    a wider type than the file has, the file is written again with that, a row group at a time.

    Args:
        path: The file; it is whole after `close`.
        types: Name of a column -> its type, of those that are known.
    """

    def __init__(self, path: Path, types: Mapping[str, pa.DataType] | None = None) -> None:
        self.path, self.types = path, dict(types or {})
        self._writer: pq.ParquetWriter | None = None

    def write(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write one batch.

        Raises:
            pa.ArrowException: A column holds what no type of Arrow does, such as numbers among text.
            OSError: The file cannot be written.
        """
        self.write_table(
            pa.table({name: pa.array(values, self.types.get(name)) for name, values in columns.items()})
        )

    def write_table(self, batch: pa.Table) -> None:
        """Write one batch that is a table already."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, batch.schema)
        schema = pa.unify_schemas([self._writer.schema, batch.schema], promote_options="permissive")
        if schema != self._writer.schema:
            self._widen(schema)
        self._writer.write_table(_fit(batch, schema))

    def close(self) -> None:
        """Write the rest."""
        if self._writer is not None:
            self._writer.close()

    def _widen(self, schema: pa.Schema) -> None:
        """Write what there is again, with another schema."""
        self.close()
        narrow = self.path.with_name(f"{self.path.name}.narrow")
        self.path.replace(narrow)
        try:
            self._writer = pq.ParquetWriter(self.path, schema)
            with pq.ParquetFile(narrow) as file:
                for i in range(file.num_row_groups):
                    self._writer.write_table(_fit(file.read_row_group(i), schema))
        finally:
            narrow.unlink()


def _fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema, those that it lacks empty."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
