"""A query's result as Arrow columns that every format can hold, each under a name of its own.

Arrow and Parquet lack some of DuckDB's types, and hand others over wrong (an unsigned integer of 128 bits as a negative
one, a time less its zone): these become DuckDB's own text, also deep inside of lists, structs and maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

_TEXT = "VARCHAR"
_IS_ENUM = pa.types.is_dictionary
_ALWAYS = {"uhugeint", "bignum", "bit", "interval", "time with time zone", "geometry", "union", "variant", "null"}
_RANGED = {  # they hold more in DuckDB than in Arrow or Python: infinity, 24:00, year 10 000, 39 digits
    "hugeint",
    "date",
    "time",
    "time_ns",
    "timestamp",
    "timestamp_s",
    "timestamp_ms",
    "timestamp_ns",
    "timestamp with time zone",
    "timestamptz_ns",
}


@dataclass(frozen=True)
class Answer:
    """What a query gave.

    Args:
        table: its columns, in the order of the SELECT.
        notes: what is not as the SELECT says it, a sentence each.
    """

    table: pa.Table
    notes: tuple[str, ...]


def answer(result: duckdb.DuckDBPyRelation) -> Answer:
    """The rows of a DuckDB query, in their order.

    Raises:
        duckdb.Error: it fails while it runs.
    """
    kinds, names = list(result.types), unique(result.columns)
    targets = [_target(kind, _ALWAYS) for kind in kinds]
    columns = _fetch(result, kinds, targets)
    beyond = [i for i, column in enumerate(columns) if not _holds(column)]
    for i in beyond:
        targets[i] = _target(kinds[i], _ALWAYS | _RANGED)
    if beyond:
        columns = _fetch(result, kinds, targets)
    notes = []
    renamed = [(was, now) for was, now in zip(result.columns, names, strict=True) if was != now]
    if renamed:
        given = ", ".join(f"{was} is {now}" for was, now in renamed)
        notes.append(f"columns of one name, from left to right: {given}; name them yourself with AS")
    notes += [
        f"column {names[i]} is text: it has a value that {kinds[i]} holds and other programs don't" for i in beyond
    ]
    return Answer(pa.table(columns, names=names), tuple(notes))


def unique(names: Sequence[str]) -> list[str]:
    """Names of which no two are equal, whatever their case: a second ``a`` is ``a_2``.

    >>> unique(["a", "b", "a", "a_2", "A"])
    ['a', 'b', 'a_3', 'a_2', 'A_4']
    """
    taken, seen, found = {name.casefold() for name in names}, set[str](), []
    for name in names:
        now, count = name, 1
        while now.casefold() in seen or (now != name and now.casefold() in taken):
            count += 1
            now = f"{name}_{count}"
        seen.add(now.casefold())
        found.append(now)
    return found


def _fetch(result: duckdb.DuckDBPyRelation, kinds: Sequence[Any], targets: Sequence[str]) -> list[pa.ChunkedArray]:
    """The columns by position, cast to the targets that differ from their kinds."""
    if any(str(kind) != target for kind, target in zip(kinds, targets, strict=True)):
        cast = (
            f"#{i}" if str(kind) == target else f"CAST(#{i} AS {target})"
            for i, (kind, target) in enumerate(zip(kinds, targets, strict=True), 1)
        )
        result = result.project(", ".join(cast))
    columns = result.to_arrow_table().columns
    return [column.cast(_plain(column.type)) if _has(column.type, _IS_ENUM) else column for column in columns]


def _target(kind: Any, as_text: set[str]) -> str:
    """The SQL type for a type: the same, but for text where a part is one of those."""
    if kind.id in as_text or (kind.id == "struct" and not kind.children):
        return _TEXT
    if kind.id not in ("list", "array", "map", "struct", "tuple"):
        return str(kind)
    parts = dict(kind.children) if kind.id != "tuple" else {}
    match kind.id:
        case "list":
            return f"{_target(parts['child'], as_text)}[]"
        case "array":
            return f"{_target(parts['child'], as_text)}[{parts['size']}]"
        case "map":
            return f"MAP({_target(parts['key'], as_text)}, {_target(parts['value'], as_text)})"
        case "tuple":
            return f"TUPLE({', '.join(_target(part, as_text) for _, part in kind.children)})"
    fields = (f"{_quoted(name)} {_target(part, as_text)}" for name, part in kind.children)
    return str(kind) if all(_target(p, as_text) == str(p) for p in parts.values()) else f"STRUCT({', '.join(fields)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type less what not every reader knows: an enum is its text, also in lists, structs and maps."""
    if _IS_ENUM(kind):
        return kind.value_type
    if not _has(kind, _IS_ENUM):
        return kind
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else -1
    return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), size)


def _holds(column: pa.ChunkedArray) -> bool:
    """Whether every value is one that Arrow allows and Python has."""
    try:
        column.validate(full=True)
        if _has(column.type, pa.types.is_temporal):
            column.to_pylist()
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def _has(kind: pa.DataType, what: Callable[[pa.DataType], bool]) -> bool:
    """Whether a type or a part of it is of some kind."""
    if pa.types.is_nested(kind):
        return any(_has(kind.field(i).type, what) for i in range(kind.num_fields))
    return what(kind)
