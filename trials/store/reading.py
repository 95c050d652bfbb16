"""Reading all Parquet files below a folder of a store, while others add, merge and delete them."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trials.canonical import digest
from trials.errors import ApetError
from trials.store import views
from trials.store.files import Entry, Files
from trials.store.record import SCHEMA_VERSION, STATES
from trials.store.retry import shortly
from trials.store.seal import parquet_is_whole

FOLDERS = ("attempts", "curves", "answers", "modules", "logs", "checkpoints", "sweeps", "runs")
_LOCAL_READERS, _REMOTE_READERS = 2, 16  # threads: decoding fills two, waiting for an object store many
_ATTEMPT = "attempt_id"  # what a file's rows are known by; those of untrained modules by their first column
_NEVER_NULL = (  # in rows of attempts, in curves and in answers
    *("trial_id", _ATTEMPT, "attempt", "state", "spec", "family", "backbone", "task", "method", "train_seed"),
    *("learning_rate", "step", "split", "row"),
)
_LISTINGS = 20  # how often files may vanish under a reader before it gives up


class Reader:
    """Reads a store's tables. What was read once is kept, since files never change: only new ones are read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._kept: dict[tuple[str, int], tuple[frozenset[Entry], pa.Table]] = {}  # by folder and number of columns

    def there(self) -> bool:
        """Whether there is a store: any of its folders."""
        return not shortly(self._files.folders).isdisjoint(FOLDERS)

    def check(self) -> None:
        """Make sure that there is a store.

        Raises:
            ApetError: there is none.
        """
        if not self.there():
            uri = shlex.quote(self._files.uri)
            raise ApetError(f"no store at {uri}; `apet run SWEEP --store {uri}` makes one")

    def table(self, folder: str, schema: pa.Schema, *, single: bool = False, without: str = "") -> pa.Table:
        """All rows below a folder, those of one attempt from one file.

        Args:
            folder: below the store's root.
            schema: of the table; the fewer columns of the files it has, the faster.
            single: an attempt has one row.
            without: a folder in it whose files are of another schema.

        Raises:
            ApetError: no store, a file that isn't ours, or one of a newer schema.
        """
        fresh: dict[Entry, pa.Table | None] = {}
        key = (folder, len(schema))
        for _ in range(_LISTINGS):
            listed = frozenset(e for e in shortly(self._files.listing, folder) if _is_of(e.path, without))
            if not listed:
                self.check()
            known, table = self._kept.get(key, (frozenset(), pa.Table.from_batches([], schema)))
            if not known <= listed:  # merged into a larger file, or deleted
                known, table = frozenset(), pa.Table.from_batches([], schema)
            new = sorted(listed - known, key=lambda entry: entry.path)
            with ThreadPoolExecutor(_LOCAL_READERS if self._files.is_local else _REMOTE_READERS) as readers:
                fresh.update(readers.map(lambda e: (e, fresh.get(e) or self.file(e.path, schema)), new))
            tables = [read for entry in new if (read := fresh[entry]) is not None]
            if len(tables) < len(new):
                continue  # a file was merged into a larger one since the listing: list again
            if new:
                sizes = [len(table), *map(len, tables)]
                part = np.arange(sum(sizes)) if single else np.repeat(np.arange(len(sizes)), sizes)
                joined = pa.concat_tables([table, *tables])
                table = (views.once(joined, part) if _ATTEMPT in schema.names else joined).combine_chunks()
            self._kept[key] = (listed, table)
            return table
        raise ApetError(
            f"store {self._files.uri}: files keep vanishing while it is read; try again when nothing deletes them"
        )

    def file(self, path: str, schema: pa.Schema) -> pa.Table | None:
        """A file's rows, None where it isn't there, or is gone.

        Raises:
            ApetError: as :meth:`table`.
        """
        try:
            data = shortly(self._files.read, path)
        except FileNotFoundError:
            return None
        where = f"store {self._files.uri}: {path}"
        if not parquet_is_whole(data):
            raise _damaged(where, "a byte of it has changed since it was written")
        try:
            table = pq.ParquetFile(pa.BufferReader(data)).read(schema.names, use_threads=False)
            table.validate(full=True)
        except (OSError, ValueError, OverflowError, MemoryError, pa.ArrowException) as error:
            raise _damaged(
                where, f"no valid Parquet: {next(iter(str(error).splitlines()), type(error).__name__)}"
            ) from None
        table = _conform(table, schema, where)
        _check_identity(table, where)
        return table


def _is_of(path: str, without: str) -> bool:
    return path.endswith(".parquet") and not (without and path.startswith(f"{without}/"))


def _check_identity(table: pa.Table, where: str) -> None:
    """Make sure that rows say which attempt they are, what became of it, and of which trial; a seal may be missing.

    Raises:
        ApetError: they don't.
    """
    names = table.column_names
    for name in _NEVER_NULL:
        if name in names and table[name].null_count:
            raise _damaged(where, f"a row without {name}")
    if "state" in names:
        unknown = set(table["state"].to_pylist()) - set(STATES)
        if unknown:
            raise _damaged(where, f"state {min(unknown)!r} is none of {', '.join(STATES)}")
    if "spec" in names:
        for trial_id, spec in zip(table["trial_id"].to_pylist(), table["spec"].to_pylist(), strict=True):
            if digest(spec) != trial_id:
                raise _damaged(where, f"the spec of trial {trial_id} has another id, {digest(spec)}")


def _damaged(where: str, why: str) -> ApetError:
    return ApetError(
        f"{where} is damaged ({why}); copy it again from elsewhere, or move it away: its trial then counts as not run"
    )


def _conform(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """A table with exactly the schema's columns; those of an older file that it lacks are null.

    Raises:
        ApetError: written by a newer schema, or not ours.
    """
    if len(table) and table.schema.get_field_index("schema_version") >= 0:
        newest = max(version or 0 for version in table["schema_version"].to_pylist())
        if newest > SCHEMA_VERSION:
            raise ApetError(
                f"{where} has schema version {newest}; this apet reads up to {SCHEMA_VERSION}: install a newer apet"
            )
    if table.schema.equals(schema):
        return table
    try:
        key = _ATTEMPT if _ATTEMPT in schema.names else schema.names[0]
        if key not in table.column_names:
            raise ApetError(f"{where} has no column {key}: not a file of apet; move it away")
        return pa.table(
            [
                table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type)
                for f in schema
            ],
            schema=schema,
        )
    except pa.ArrowException as error:
        raise ApetError(f"{where} has other types than this apet's ({error}); move it away") from None
