"""Flat rows with fixed columns, to and from Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def to_arrow(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pa.Table:
    """Rows as an Arrow table, typed also when it is empty.

    Args:
        rows: each with exactly the columns.
        columns: name → Arrow's name of the type.
    """
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in columns.items()])
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def read(table: pa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a table as rows; what an older store lacks is None."""
    there = [name for name in names if name in table.column_names]
    none = dict.fromkeys(names)
    return [none | row for row in table.select(there).to_pylist()]
