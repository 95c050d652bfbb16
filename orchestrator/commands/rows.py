"""Arrow rows on stdout: as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.commands.common import print_json
from orchestrator.text import table
from trials.errors import ApetError

if TYPE_CHECKING:
    import pyarrow as pa


def write(rows: pa.Table, form: str) -> None:
    """Print rows.

    Args:
        rows: what to print.
        form: ``table``, ``csv``, ``json`` (one array of objects) or ``parquet`` (bytes).

    Raises:
        ApetError: parquet onto a terminal.
    """
    if form == "parquet":
        _parquet(rows)
    elif form == "csv":
        typer.echo(csv(rows), nl=False)
    elif form == "json":
        print_json(rows.to_pylist(maps_as_pydicts="strict"))
    else:
        typer.echo(table(rows.column_names, [_short(row) for row in rows.to_pylist(maps_as_pydicts="strict")]))


def csv(rows: pa.Table) -> str:
    """Rows as CSV with a header; missing values are empty, maps are JSON."""
    import csv as standard
    import io
    import json

    out = io.StringIO()
    writer = standard.writer(out, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in rows.to_pylist(maps_as_pydicts="strict"):
        writer.writerow([json.dumps(v) if isinstance(v, dict | list) else v for v in row.values()])
    return out.getvalue()


def _short(row: dict[str, Any]) -> list[Any]:
    """Cells of one line each."""
    return [" ".join(value.split()) if isinstance(value, str) else value for value in row.values()]


def _parquet(rows: pa.Table) -> None:
    import pyarrow.parquet as pq

    if sys.stdout.isatty():
        raise ApetError("parquet is no text: send it to a file (> rows.parquet), or take --format table, csv or json")
    sink = sys.stdout.buffer
    pq.write_table(rows, sink)
    sink.flush()
