"""The store on a local disk: what is written, what is read, and what is refused."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from paths import SUPPORT
from rows_for_tests import point, row, trial

from trials.errors import ApetError
from trials.store.files import Files
from trials.store.record import CURVES, SCHEMA, SCHEMA_VERSION
from trials.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def files(store: Store, folder: str) -> list[Path]:
    return sorted((Path(store.uri) / folder).rglob("*.parquet"))


def test_one_attempt_is_one_file_in_a_plain_folder(store: Store) -> None:
    made = row(metrics={"f1": 0.25})
    store.append(made, [point(0), point(20)])
    for folder in ("attempts", "curves"):
        [path] = files(store, folder)
        assert path.relative_to(store.uri).as_posix() == f"{folder}/{made['trial_id'][:2]}/{made['attempt_id']}.parquet"
    assert store.attempts().schema.equals(SCHEMA)
    assert store.curves().schema.equals(CURVES)
    assert store.curves()["step"].to_pylist() == [0, 20]
    assert store.has(made["attempt_id"])
    assert not store.has(row()["attempt_id"])


def test_pandas_and_duckdb_read_it_without_our_code(store: Store) -> None:
    store.append(row(trial(1), state="failed", score=None))  # all null first: later columns must not be lost
    store.append(row(trial(2), metrics={"f1": 0.25}, operations={"add": 2}))
    Path(store.uri, "attempts", ".left.parquet.tmp").write_bytes(b"PAR1")
    frame = pd.read_parquet(store.uri + "/attempts")
    assert list(frame.columns) == SCHEMA.names
    assert sorted(frame["count_requested"]) == [1, 2]
    assert frame.set_index("count_requested").loc[2, "metrics"] == [("f1", 0.25)]
    [(count,)] = duckdb.sql(f"SELECT count(test_score) FROM '{store.uri}/attempts/**/*.parquet'").fetchall()
    assert count == 1


def test_a_missing_store_is_an_error_until_something_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    assert not store.exists()
    for read in (store.attempts, store.trials, store.curves, store.visible, lambda: store.resolve("ab")):
        with pytest.raises(ApetError, match=r"no store at .*new; `apet run SWEEP --store .*` makes one"):
            read()
    assert not (tmp_path / "new").exists()
    store.append(row())
    assert len(Store(tmp_path / "new").trials()) == 1


def test_an_empty_folder_is_no_store_and_a_created_one_is_empty(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="no store"):
        Store(tmp_path).trials()
    made = Store(tmp_path, create=True)
    assert made.exists()
    assert made.visible() == {}
    for view in (made.attempts, made.trials, made.selected, made.curves, made.transfers):
        assert len(view()) == 0
    assert {"cell_id", "curve_id", "target", "target_score", "relative"} <= set(made.transfers().column_names)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ApetError, match="file is a file; a store is a directory: give another path"):
            Store(path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where even root can't write: Linux's /proc")
def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ApetError, match="can't write attempts"):
        Store("/proc/store", create=True)
    with pytest.raises(ApetError, match="can't write"):
        Store("/proc/store").append(row())


@pytest.mark.parametrize("uri", ["ftp://host/x", "s3://", "nonsense://x"])
def test_an_unknown_kind_of_uri(uri: str) -> None:
    with pytest.raises(ApetError, match="store"):
        Store(uri, create=True)


def test_file_uris_and_relative_paths_are_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("here").append(row())
    assert len(Store((tmp_path / "here").as_uri()).attempts()) == 1


def test_a_newer_schema_is_refused(store: Store) -> None:
    store.append(row())
    newer = pa.Table.from_pylist([{"attempt_id": "x", "schema_version": SCHEMA_VERSION + 1, "column_of_tomorrow": 1}])
    path = Path(store.uri, "attempts", "x.parquet")
    pq.write_table(newer, path)
    for reader in (store, Store(store.uri)):
        with pytest.raises(ApetError, match=r"x\.parquet has schema version 5; this apet reads up to 4: install a new"):
            reader.trials()
        with pytest.raises(ApetError, match="schema version 5"):
            reader.visible()
    path.unlink()
    assert len(store.trials()) == 1


def test_a_file_that_is_no_parquet_is_named(store: Store) -> None:
    store.append(row())
    for content in (b"", b"PAR1 but no more", files(store, "attempts")[0].read_bytes()[:-9]):
        Path(store.uri, "attempts", "ab.parquet").write_bytes(content)
        with pytest.raises(ApetError, match=r"attempts/ab\.parquet is damaged \(.*\); copy it again"):
            Store(store.uri).attempts()


def test_a_parquet_file_of_somebody_else_is_named(store: Store) -> None:
    pq.write_table(pa.table({"a": [1]}), Path(store.uri, "attempts", "a.parquet"))
    with pytest.raises(ApetError, match=r"attempts/a\.parquet has no column attempt_id"):
        store.attempts()
    pq.write_table(pa.table({"attempt_id": [1.5], "state": [[1]]}), Path(store.uri, "attempts", "a.parquet"))
    with pytest.raises(ApetError, match=r"attempts/a\.parquet has other types"):
        store.attempts()


def test_an_attempt_is_written_once(store: Store) -> None:
    made = row()
    store.append(made)
    store.append(made)  # a try that was told that the first had failed
    assert len(store.attempts()) == 1
    with pytest.raises(AssertionError, match="written once"):
        store.append({**made, "steps": 7})


def test_new_rows_are_seen_and_deleted_ones_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(row(trial(1)))
    assert len(store.trials()) == 1
    read: list[str] = []
    whole = Files.read
    monkeypatch.setattr(Files, "read", lambda self, path: (read.append(path), whole(self, path))[1])
    store.append(row(trial(2)))
    assert len(store.trials()) == 2
    assert len(read) == 1, "files never change: what was read is not read again"
    files(store, "attempts")[0].unlink()
    assert len(store.trials()) == 1


CRASH = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from rows_for_tests import point, row
from trials import Store
store = Store(sys.argv[1])
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
store.append(row(), [point(1)] if sys.argv[3] == "curve" else None)
"""


@pytest.mark.parametrize("first", ["curve", "row"])
def test_a_crash_before_the_rename_leaves_nothing_to_see(store: Store, first: str) -> None:
    crash = subprocess.run([sys.executable, "-c", CRASH, store.uri, str(SUPPORT), first], timeout=60)
    assert crash.returncode == -signal.SIGKILL
    left = [path for path in Path(store.uri).rglob("*") if path.is_file()]
    assert [path.name.startswith(".") for path in left] == [True], "the crash came too early to prove anything"
    assert Store(store.uri)._files.listing() == []
    assert len(Store(store.uri).attempts()) == len(Store(store.uri).curves()) == 0
    store.append(row())
    assert len(pd.read_parquet(store.uri + "/attempts")) == 1


def test_a_failed_write_leaves_no_temporary_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # folders are made, the file is there, and then
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ApetError, match=r"can't write attempts/.*: No space left on device; check access and free"):
        store.append(row())
    assert [path for path in Path(store.uri).rglob("*") if path.is_file()] == []


def test_a_curve_without_its_row_is_not_seen(store: Store) -> None:
    store.append(row(trial(1)), [point(1)])
    store.append(row(trial(2)), [point(1)])
    files(store, "attempts")[0].unlink()
    assert store.curves()["attempt_id"].to_pylist() == store.attempts()["attempt_id"].to_pylist()


def compact(store: Store, folder: str, delete: bool = True) -> None:
    """What a later command will do: one large file, then the small ones go."""
    small = files(store, folder)
    reader = Store(store.uri)
    pq.write_table(reader.attempts() if folder == "attempts" else reader.curves(), small[0].with_name("all.parquet"))
    if delete:
        for path in small:
            path.unlink()


@pytest.mark.parametrize("delete", [False, True])
def test_files_merged_into_a_large_one(store: Store, delete: bool) -> None:
    for seed in range(5):
        store.append(row(trial(seed=seed)), [point(1), point(2)])
    by = [("attempt_id", "ascending"), ("step", "ascending")]
    before, curves = store.trials(), store.curves().sort_by(by)
    for folder in ("curves", "attempts"):
        compact(store, folder, delete)
    for reader in (store, Store(store.uri)):
        assert reader.trials().equals(before)
        assert len(reader.attempts()) == 5
        assert reader.curves().sort_by(by).equals(curves)


def test_an_attempt_twice_in_one_file_is_one_row(store: Store) -> None:
    store.append(row())
    [path] = files(store, "attempts")
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 2), path.with_name("twice.parquet"))
    assert len(Store(store.uri).attempts()) == 1
    path.unlink()
    assert len(Store(store.uri).attempts()) == 1


def test_files_merged_between_listing_and_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        store.append(row(trial(seed=seed)))
    whole, compacted = Files.read, []

    def read(self: Files, path: str) -> bytes:
        if not compacted:
            compacted.append(True)
            compact(store, "attempts")
        return whole(self, path)

    monkeypatch.setattr(Files, "read", read)
    assert len(Store(store.uri).trials()) == 5


def test_two_stores_copied_into_one(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    for seed in (0, 1):
        store.append(row(trial(seed=seed), score=0.25), [point(1)])
    for seed in (1, 2):
        other.append(row(trial(seed=seed), score=0.75), [point(1)])
    shutil.copytree(other.uri, store.uri, dirs_exist_ok=True)
    assert len(store.attempts()) == len(store.curves()) == 4
    assert sorted(store.trials()["position_seed"].to_pylist()) == [0, 1, 2]
    assert sorted(attempts for _, attempts in store.visible().values()) == [1, 1, 2]


def test_a_prefix_names_one_trial(store: Store) -> None:
    ids = []
    for count in range(1, 18):  # 17 ids: two begin alike
        store.append(row(trial(count)))
        ids.append(trial(count).trial_id)
    assert store.resolve(ids[0][:19]) == ids[0]
    assert store.resolve(ids[0]) == ids[0]
    with pytest.raises(ApetError, match=r"no trial 'xyz' in .*store"):
        store.resolve("xyz")
    with pytest.raises(ApetError, match="no trial ''"):
        store.resolve("")
    several = next(i[0] for i in ids if sum(j[0] == i[0] for j in ids) > 1)
    with pytest.raises(ApetError, match=rf"'{several}' begins the ids of \d+ trials: .*give more digits"):
        store.resolve(several)
