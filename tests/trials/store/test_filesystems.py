"""One contract, every kind of file system; and the files of live runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pyarrow.fs as pafs
import pytest
from rows_for_tests import point, row, trial

from trials.errors import ApetError
from trials.store.store import Store


@pytest.fixture(params=["local", "uri", "memory", "subtree", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    kind = request.param
    if kind == "s3":
        return Store(f"{request.getfixturevalue('s3')}/studies", create=True)
    if kind == "memory":
        return Store("studies/one", create=True, filesystem=pafs._MockFileSystem())
    if kind == "subtree":
        tree = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
        return Store("one", create=True, filesystem=tree)
    return Store(tmp_path.as_uri() if kind == "uri" else str(tmp_path), create=True)


def again(store: Store) -> Store:
    """The same store, opened anew."""
    return Store(store._files.root, filesystem=store._files.filesystem)


def test_rows_and_curves(store: Store) -> None:
    assert store.exists()
    assert again(store).visible() == {}
    rows = [row(trial(count), score=count / 10, metrics={"f1": 0.5}) for count in (1, 2, 3)]
    for made in rows:
        store.append(made, [point(0), point(20)])
    store.append(row(trial(1), "failed", attempt=1))
    for reader in (store, again(store)):
        assert sorted(reader.visible().values()) == [("completed", 1), ("completed", 1), ("completed", 2)]
        assert sorted(reader.trials()["test_score"].to_pylist()) == [0.1, 0.2, 0.3]
        assert len(reader.curves()) == 6
    files = store._files
    frame = pd.read_parquet(f"{files.root}/attempts", filesystem=files.filesystem)
    assert len(frame) == 4


def test_no_temporary_file_is_left(store: Store) -> None:
    store.append(row(), [point(0)])
    everything = store._files.filesystem.get_file_info(pafs.FileSelector(store._files.root, recursive=True))
    assert [info.path for info in everything if info.is_file and not info.path.endswith(".parquet")] == []


def test_other_files(store: Store) -> None:
    made = row()
    trial_id, attempt_id = made["trial_id"], made["attempt_id"]
    module = os.urandom(100_000)
    uri = store.save_module(trial_id, attempt_id, module)
    assert uri == f"modules/{trial_id[:2]}/{attempt_id}.safetensors", "below the store, so that it survives copying"
    assert again(store).load_module(uri) == module
    assert again(store).load_log(store.save_log(attempt_id, "Traceback …")) == "Traceback …"
    with pytest.raises(ApetError, match=r"no modules/no/ne in .*; was the store copied"):
        store.load_module("modules/no/ne")
    assert store.load_checkpoint(trial_id) is None
    for data in (b"1", b"22"):
        store.save_checkpoint(trial_id, data)
        assert again(store).load_checkpoint(trial_id) == data
    store.drop_checkpoint(trial_id)
    store.drop_checkpoint(trial_id)
    assert store.load_checkpoint(trial_id) is None


def test_heartbeats_and_stops(store: Store) -> None:
    assert store.running() == {}
    store.beat("run-1", "host-7", {"trials": ["ab", "cd"], "step": 1})
    store.beat("run-1", "host-7", {"trials": ["ab", "cd"], "step": 2})
    store.beat("run-1", "host-8", {"trials": {"ef": {"task": "rte"}}, "step": 3})
    found = again(store).running()
    assert {trial_id: beat["step"] for trial_id, beat in found.items()} == {"ab": 2, "cd": 2, "ef": 3}
    assert (found["ef"]["task"], found["ef"]["run_id"], found["ef"]["worker_id"]) == ("rte", "run-1", "host-8")
    assert 0 <= found["ab"]["age_s"] < 60
    store.end_beat("run-1", "host-7")
    assert list(store.running()) == ["ef"]
    assert not store.stop_requested("run-1")
    store.request_stop("run-1")
    assert again(store).stop_requested("run-1")
    assert not store.stop_requested("run-2")
    store.end_run("run-1")
    assert store.running() == {}
    assert not store.stop_requested("run-1")
    assert len(store.trials()) == 0


def test_what_killed_runs_left_goes_a_day_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.beat("dead", "host-7", {"trials": ["ab"]})
    store.request_stop("dead")
    now = time.time()
    monkeypatch.setattr("trials.store.liveness.time.time", lambda: now + 86_000)
    store.clear_runs()
    assert store.stop_requested("dead"), "a day isn't over"
    monkeypatch.setattr("trials.store.liveness.time.time", lambda: now + 86_500)
    store.clear_runs()
    assert not store.stop_requested("dead")
    assert store._files.listing("runs") == []
    store.clear_runs()


def test_a_run_that_lives_keeps_its_files(tmp_path: Path) -> None:
    """One fresh heartbeat keeps the old request to stop beside it."""
    store = Store(tmp_path, create=True)
    store.request_stop("live")
    store.request_stop("dead")
    (tmp_path / "runs" / "dead" / ".vm-1.json.0a.tmp").write_bytes(b"")  # a writer that was killed
    for path in [*tmp_path.glob("runs/*/*"), *tmp_path.glob("runs/*/.*"), *tmp_path.glob("runs/*")]:
        os.utime(path, (1.0, 1.0))
    store.beat("live", "host-1", {"trials": ["ab"]})
    store.clear_runs()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["live"]
    assert store.stop_requested("live")


def test_an_old_heartbeat_is_of_a_worker_that_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for worker, age in (("a", 50), ("b", 70)):
        store.beat("run", worker, {"trials": [worker]})
        then = time.time() - age
        os.utime(tmp_path / "runs" / "run" / f"{worker}.json", (then, then))
    assert list(store.running()) == ["a"]
    (tmp_path / "runs" / "run" / "c.json").write_text('{"trials": ["c"')  # no worker of ours writes half a file
    assert list(store.running()) == ["a"]


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_names_of_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ApetError, match="names no run or worker"):
        Store(tmp_path).beat(name, "w", {})


def test_a_bucket_that_is_not_there(s3: str) -> None:
    with pytest.raises(ApetError, match="Bucket 'nowhere' not found"):
        Store("s3://nowhere/x", create=True)
    with pytest.raises(ApetError, match="no store at"):
        Store(f"{s3}/nothing").trials()


def test_a_row_is_one_put(s3: str) -> None:
    boto3 = pytest.importorskip("boto3")
    store = Store(s3, create=True)
    store.append(row())
    [entry] = store._files.listing("attempts")
    bucket, _, folder = s3.removeprefix("s3://").partition("/")
    tag = boto3.client("s3").head_object(Bucket=bucket, Key=f"{folder}/{entry.path}")["ETag"]
    assert "-" not in tag, "the tag of a multipart upload ends in its number of parts"
