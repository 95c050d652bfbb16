"""A changed byte of a store's file: the same table, or an error that names the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows_for_tests import point, row, trial

from trials.errors import ApetError
from trials.store.answers import Answered
from trials.store.store import Store

KINDS = ("attempts", "curves", "answers")


def filled(folder: Path) -> Store:
    """A store of one attempt with every kind of column, its curve and its answers."""
    store = Store(folder / "store", create=True)
    made = row(
        trial(2),
        right=b"\xa0",
        metrics={"f1": 0.25, "é": 0.5},
        operations={"add": 2},
        error_message="Zürich " * 9,
        offload=True,
    )
    store.append(made, [point(0), point(20, 0.75)], {"sst2": Answered([0.25, 1.0], ["nö", "yes"])})
    return store


def file(store: Store, folder: str) -> Path:
    (path,) = Path(store.uri, folder).rglob("*.parquet")
    return path


def table(store: Store, folder: str) -> pa.Table:
    found: pa.Table = getattr(Store(store.uri), folder)()
    return found


def found(store: Store, folder: str) -> pa.Table | str:
    """A table that could be read, and used, or the error."""
    try:
        rows = table(store, folder)
        Store(store.uri).transfers().to_pylist()
    except ApetError as error:
        return str(error)
    return rows


def changed(whole: bytes, positions: Iterator[int]) -> Iterator[bytes]:
    """The file with one byte changed: a bit, the sign of UTF-8, all of it."""
    for at in positions:
        for mask in (0x01, 0x80, 0xFF):
            yield whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]


def everywhere(whole: bytes, number: int) -> Iterator[int]:
    """So many places at random, and all of the last hundred bytes."""
    draw = np.random.RandomState(5)
    yield from draw.choice(len(whole), number, replace=False)
    yield from range(len(whole) - 100, len(whole))


@pytest.mark.parametrize("folder", KINDS)
def test_a_changed_byte_is_harmless_or_named(folder: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    path, before = file(store, folder), table(store, folder)
    whole, harmless = path.read_bytes(), 0
    for damaged in changed(whole, everywhere(whole, 150)):
        path.write_bytes(damaged)
        rows = found(store, folder)
        if isinstance(rows, str):
            assert f"{path.relative_to(store.uri)} is damaged" in rows
        else:
            assert rows.equals(before)
            harmless += 1
    assert harmless <= 6 * 3, "all but the six bytes by which a seal is known"
    path.write_bytes(whole)
    assert table(store, folder).equals(before)


@pytest.mark.parametrize("folder", KINDS)
def test_a_cut_file_is_named(folder: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = file(store, folder)
    whole = path.read_bytes()
    for end in (0, 3, 8, 100, len(whole) // 2, len(whole) - 300, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(ApetError, match=f"{path.name} is damaged"):
            table(store, folder)


@pytest.mark.parametrize("folder", KINDS)
def test_without_a_seal_a_changed_byte_may_be_another_value_but_no_other_error(folder: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    path, before = file(store, folder), table(store, folder)
    path.write_bytes(unsealed(before))
    assert table(store, folder).equals(before)
    whole, errors = path.read_bytes(), []
    for damaged in changed(whole, everywhere(whole, 30)):
        path.write_bytes(damaged)
        rows = found(store, folder)
        if isinstance(rows, str):
            errors.append(rows)
        else:
            assert rows.schema.equals(before.schema)
    assert len(errors) > 50
    assert all(path.name in error for error in errors)


def unsealed(rows: pa.Table) -> bytes:
    """A file as older releases wrote it."""
    sink = io.BytesIO()
    plain = {"write_statistics": False, "use_dictionary": False, "store_schema": False, "compression": "none"}
    pq.write_table(rows, sink, **plain)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        (b"Z\xc3\xbcrich", b"Z\xff\xbcrich", "UTF8"),
        (b"completed", b"complexed", "state 'complexed' is none of completed, diverged, failed"),
        (b'"discrete"', b'"discreet"', "has another id"),
    ],
)
def test_a_file_of_an_older_release_that_is_damaged(was: bytes, becomes: bytes, says: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    path = file(store, "attempts")
    whole = unsealed(table(store, "attempts"))
    assert was in whole
    path.write_bytes(whole.replace(was, becomes))
    for read in (Store(store.uri).attempts, Store(store.uri).trials, Store(store.uri).curves):
        with pytest.raises(ApetError, match=rf"{path.name} is damaged \(.*{says}"):
            read()


def test_other_programs_read_sealed_files_and_copy_no_seal(tmp_path: Path) -> None:
    store = filled(tmp_path)
    path, before = file(store, "attempts"), table(store, "attempts")
    assert path.read_bytes() != unsealed(before)
    assert pd.read_parquet(path)["test_score"].tolist() == [0.5]
    assert duckdb.sql(f"select metrics['f1'] from '{path}'").fetchall() == [(0.25,)]
    pq.write_table(pq.read_table(path), path)
    assert table(store, "attempts").equals(before)
    duckdb.sql(f"copy (from '{path}') to '{tmp_path / 'other.parquet'}'")
    path.write_bytes((tmp_path / "other.parquet").read_bytes())
    assert table(store, "attempts").equals(before)
