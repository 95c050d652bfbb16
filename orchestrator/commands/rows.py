r"""Arrow rows on stdout: as a table, CSV, JSON or Parquet; columns by position, never by name.

One text for one value, wherever it stands. Times and dates are as ISO 8601 has them, with a blank before the time;
bytes are as DuckDB writes and reads them (``\x00``); decimals have all their digits; lists, structs and maps are JSON.
A map whose keys are text or numbers is an object; one with other keys is a list of objects with ``key`` and ``value``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.commands.common import say
from orchestrator.text import table
from trials.errors import ApetError

if TYPE_CHECKING:
    import pyarrow as pa


def write(rows: pa.Table, form: str) -> None:
    """Print rows.

    Args:
        rows: what to print.
        form: ``table``, ``csv``, ``json`` (one array of objects, an object a line) or ``parquet`` (bytes).

    Raises:
        ApetError: parquet onto a terminal.
    """
    if form == "parquet":
        _parquet(rows)
    elif form == "csv":
        typer.echo(csv(rows), nl=False, color=True)  # or it would take escape sequences out of texts
    elif form == "json":
        _json_rows(rows)
    else:
        cells = [[_shown(value) for value in _values(column)] for column in rows.columns]
        typer.echo(table(rows.column_names, list(zip(*cells, strict=True))))


def csv(rows: pa.Table) -> str:
    """Rows as CSV with a header; missing values are empty, lists, structs and maps are JSON."""
    import csv as standard
    import io

    out = io.StringIO()
    writer = standard.writer(out, lineterminator="\n")
    writer.writerow(rows.column_names)
    columns = [[_cell(value) for value in _values(column)] for column in rows.columns]
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def _json_rows(rows: pa.Table) -> None:
    """Print one JSON array, an object a line; numbers have all their digits, and one that isn't finite is null."""
    columns = [_values(column) for column in rows.columns]
    lost = [name for name, values in zip(rows.column_names, columns, strict=True) if any(map(_not_finite, values))]
    if lost:
        say(f"JSON has no NaN and no infinity: they are null in {', '.join(lost)}; --format csv and parquet keep them")
    names = [json.dumps(name, ensure_ascii=False) for name in rows.column_names]
    lines = (_object(names, map(_json, row)) for row in zip(*columns, strict=True))
    typer.echo("[" + ",".join(f"\n {line}" for line in lines) + "\n]")


def _values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """A column as what JSON has, but for numbers that it lacks: None, bool, int, float, Decimal, str, list, dict."""
    import numpy as np
    import pyarrow as pa

    kind = column.type
    if pa.types.is_map(kind):
        return [_map(entry) for entry in column]
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_nested(kind):
        return [_values(entry.values) if entry.is_valid else None for entry in column]
    values: list[Any] = column.to_pylist()
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return [None if value is None else int(value) for value in values]
    if pa.types.is_float32(kind):  # its own shortest text, not that of the double beside it
        return [None if value is None else float(str(np.float32(value))) for value in values]
    if pa.types.is_binary(kind):
        return [None if value is None else _bytes(value) for value in values]
    return [str(value) if value is not None else None for value in values] if pa.types.is_temporal(kind) else values


def _map(entry: pa.MapScalar) -> Any:
    import pyarrow as pa

    if not entry.is_valid:
        return None
    entries = entry.values
    keys, items = (_values(entries.field(i)) for i in (0, 1))
    if pa.types.is_nested(entry.type.key_type):
        return [{"key": key, "value": item} for key, item in zip(keys, items, strict=True)]
    texts = [key if isinstance(key, str) else "null" if key is None else _number(key) for key in keys]
    return dict(zip(texts, items, strict=True))


def _structs(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    names = [field.name for field in array.type]
    fields = zip(*(_values(part) for part in array.flatten()), strict=True)
    return [
        dict(zip(names, values, strict=True)) if there else None
        for there, values in zip(array.is_valid().to_pylist(), fields, strict=True)
    ]


def _bytes(value: bytes) -> str:
    """Bytes as text that DuckDB casts back to a BLOB."""
    plain = set(range(32, 127)) - set(b"\"'\\")
    return "".join(chr(byte) if byte in plain else f"\\x{byte:02X}" for byte in value)


def _not_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_not_finite, value.values()))
    if isinstance(value, list):
        return any(map(_not_finite, value))
    return isinstance(value, float) and not math.isfinite(value)


def _number(value: float | Decimal | bool) -> str:
    """A number or a truth as JSON has it; what isn't finite as Python does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else repr(value)


def _json(value: Any) -> str:
    """JSON text; ``json`` would round decimals."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return _object([json.dumps(key, ensure_ascii=False) for key in value], map(_json, value.values()))
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    return "null" if value is None or _not_finite(value) else _number(value)


def _object(names: Sequence[str], values: Iterable[str]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True)) + "}"


def _cell(value: Any) -> Any:
    """A value of CSV."""
    if isinstance(value, dict | list):
        return _json(value)
    return f"{value:f}" if isinstance(value, Decimal) else value


def _shown(value: Any) -> Any:
    """A cell of one line, without a character that a terminal would obey."""
    text = _json(value) if isinstance(value, dict | list) else value
    if not isinstance(text, str):
        return text
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _parquet(rows: pa.Table) -> None:
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise ApetError("parquet is no text: send it to a file (> rows.parquet), or take --format table, csv or json")
    sink = sys.stdout.buffer
    pq.write_table(rows, sink)
    sink.flush()
