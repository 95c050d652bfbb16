"""Reads a file of rows: JSON lines, CSV or Parquet, each to the same values.

Whoever plans and whoever trains read with this, so that they agree on what a file holds: a byte-order mark is no part
of a name, a cell of CSV that spells a number is that number where a label is needed, and a column that is there twice
is refused, whatever the format.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from trials.errors import ApetError
from trials.tasks.spec import Task

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_LONGEST_CELL = 2**31 - 1  # characters; Python's own limit is 131 072, and articles are longer


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON as its keys and values, in order, each as often as it is there."""


_LINE = json.JSONDecoder(object_pairs_hook=_Pairs)


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, from its schema, header or first row; none where it has no row.

    Raises:
        ApetError: it can't be read.
    """
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                return list(file.schema_arrow.names) if file.metadata.num_rows else []
        if path.suffix == ".csv":
            with _text(path) as lines:
                cells = _cells(lines)
                names = next(cells, (0, []))[1]
                return names if next(cells, None) else []
        with _text(path) as lines:
            return [name for name, _ in next(_objects(path, lines), [])]
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def rows_of(path: Path, columns: Sequence[str], task: Task) -> Iterator[tuple[Any, ...]]:
    """The rows of a file, in its order: the values of ``columns``.

    Args:
        path: .jsonl, .jsonl.gz, .csv or .parquet.
        columns: to read; a value that isn't there is None.
        task: whose answers a CSV spells out: labels are numbers, lists are JSON. Its other cells are texts.

    Raises:
        ApetError: the file can't be read, a row is none, or one of ``columns`` is there twice.
    """
    names = columns_of(path)
    for name in columns:
        if names.count(name) > 1:
            raise ApetError(f"{path}: column {name} is there {names.count(name)} times; keep one")
    read = {".parquet": _parquet, ".csv": _csv}.get(path.suffix, _jsonl)
    try:
        yield from read(path, columns, task)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _parquet(path: Path, columns: Sequence[str], task: Task) -> Iterator[tuple[Any, ...]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        have = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=have):
            found = batch.to_pydict()
            nothing = [None] * batch.num_rows
            yield from zip(*(found.get(name, nothing) for name in columns), strict=True)


def _csv(path: Path, columns: Sequence[str], task: Task) -> Iterator[tuple[Any, ...]]:
    with _text(path) as lines:
        cells = _cells(lines)
        names = next(cells)[1]
        places = [names.index(name) if name in names else len(names) for name in columns]
        answers = [task.answer_column == name for name in columns]
        for number, (line, row) in enumerate(cells, start=1):
            if len(row) != len(names) and any(cell.strip() for cell in row[len(names) :]):
                raise ApetError(
                    f"{path}, row {number} (line {line}): {len(row)} cells, and the header has {len(names)}; put texts "
                    "that hold a comma in double quotes"
                )
            values = [row[place] if place < min(len(row), len(names)) else None for place in places]
            yield tuple(
                _spelled(value, task, f"{path}, row {number}, column {task.answer_column}")
                if answer and value is not None
                else value
                for value, answer in zip(values, answers, strict=True)
            )


def _jsonl(path: Path, columns: Sequence[str], task: Task) -> Iterator[tuple[Any, ...]]:
    with _text(path) as lines:
        for number, pairs in enumerate(_objects(path, lines), start=1):
            row = dict(pairs)
            if len(row) != len(pairs):
                names = [name for name, _ in pairs]
                for name in columns:
                    if names.count(name) > 1:
                        raise ApetError(f"{path}, row {number}: {name} is there {names.count(name)} times; keep one")
            yield tuple(row.get(name) for name in columns)


def _objects(path: Path, lines: TextIO) -> Iterator[_Pairs]:
    """One object a line; blank lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found = _LINE.decode(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, _Pairs):
            raise ApetError(
                f"{path}: can't be read: line {number} is no JSON object: {line.strip()[:60]!r}; "
                "write one object a line"
            )
        yield found


def _cells(lines: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row of a CSV; blank lines are passed over."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(lines, strict=True)
    try:
        for row in reader:
            if len(row) > 1 or any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise csv.Error(f"line {reader.line_num}: {error}") from None


def _text(path: Path) -> TextIO:
    """A file as text, without its byte-order mark."""
    newline = "" if path.suffix == ".csv" else None
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig", newline=newline)


def _spelled(cell: str, task: Task, where: str) -> object:
    """What a cell of CSV with an answer spells: a number, a JSON list, or the text that it is."""
    if task.labels:
        text = cell.strip()
        if _NUMBER.fullmatch(text) is None:
            return cell
        return int(text) if text.lstrip("+-").isdecimal() and len(text) < 20 else float(text)
    if not isinstance(task.example[task.answer_column], list) or not cell.lstrip().startswith("["):
        return cell
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ApetError(
            f'{where}: {cell[:60]!r} begins with [ and is no JSON list; write ["a", "b"], or give .jsonl or .parquet'
        )
    return found


_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, csv.Error)  # pyarrow's errors are ValueErrors


def _unreadable(path: Path, error: Exception) -> ApetError:
    if isinstance(error, ApetError):
        return error
    if isinstance(error, UnicodeDecodeError):
        return ApetError(f"{path}: can't be read: not UTF-8 text (byte {error.start}); save it as UTF-8")
    text = str(error).strip().splitlines()
    return ApetError(f"{path}: can't be read ({text[0][:120] if text else type(error).__name__}); mend or replace it")
