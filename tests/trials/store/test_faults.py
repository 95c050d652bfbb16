"""An S3 that hiccups makes a store slower, not dead; no reader ever sees half a row; what doesn't pass is said."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from faulty_proxy import FaultyProxy, faulty_proxy
from rows_for_tests import point, row, trial

from trials.errors import ApetError
from trials.store import retry
from trials.store.retry import patiently
from trials.store.s3 import Unreachable
from trials.store.store import Store

LONG = 1000  # times: longer than pyarrow itself tries


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Stands before the S3 of this test's stores."""
    with faulty_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def store(s3: str, proxy: FaultyProxy) -> Store:
    return Store(s3, create=True)


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *(("slow_down", method) for method in ("PUT", "GET", "HEAD")),
        *(("reset", method) for method in ("PUT", "GET", "HEAD")),
        *(("half", "PUT"), ("lost_answer", "PUT"), ("slow", "GET"), ("cut", "GET")),
        pytest.param("hang", "PUT", marks=pytest.mark.slow),
        pytest.param("hang", "GET", marks=pytest.mark.slow),
    ],
)
def test_a_hiccup_changes_nothing(store: Store, proxy: FaultyProxy, kind: str, method: str) -> None:
    """Rows, curves, checkpoints, heartbeats, each with a first request of this kind that is spoilt."""
    proxy.slow_s = 0.2
    one, rows = trial(1), [row(trial(count), score=count / 10) for count in (1, 2)]

    def spoil() -> None:
        proxy.heal()
        proxy.spoil(kind, method)

    spoil()
    store.append(rows[0], [point(0), point(20)])
    spoil()
    store.save_checkpoint(one.trial_id, b"22" * 10_000)
    spoil()
    assert store.load_checkpoint(one.trial_id) == b"22" * 10_000
    spoil()
    store.beat("run-1", "host-7", {"trials": [one.trial_id], "step": 1})
    spoil()
    assert store.running()[one.trial_id]["step"] == 1
    spoil()
    assert not store.stop_requested("run-1")
    store.append(rows[1])
    proxy.spoil(kind, method, times=2)
    reader = Store(store.uri)
    assert sorted(reader.trials()["test_score"].to_pylist()) == [0.1, 0.2]
    assert len(reader.curves()) == 2
    assert len(store._files.listing("attempts")) == 2
    assert {spoilt[0] for spoilt in proxy.spoilt} == {kind}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset", "half", "slow_down"])
def test_a_row_is_whole_or_not_there(store: Store, proxy: FaultyProxy, kind: str) -> None:
    made = row()
    proxy.spoil(kind, "PUT", "/attempts/", times=LONG)
    with pytest.raises(Unreachable):
        store.append(made, [point(0)])
    assert len([path for method, path in proxy.seen if method == "PUT" and "/attempts/" in path]) > 5
    reader = Store(store.uri)
    assert store._files.listing("attempts") == []
    assert (len(reader.attempts()), len(reader.curves())) == (0, 0), "a curve without its row isn't shown"
    proxy.heal()
    store.append(made, [point(0)])
    assert (len(reader.attempts()), len(reader.curves())) == (1, 1)


@pytest.mark.slow
def test_a_row_whose_answer_is_lost_is_there_once(store: Store, proxy: FaultyProxy) -> None:
    made = row()
    proxy.spoil("lost_answer", "PUT", "/attempts/", times=LONG)
    with pytest.raises(Unreachable):
        store.append(made)
    proxy.heal()
    store.append(made)
    assert len(store.attempts()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slow_down", "cut"])
def test_longer_than_pyarrow_tries(
    store: Store, proxy: FaultyProxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query, and a worker that writes a checkpoint, which the store recovers from while they wait."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        proxy.heal()

    monkeypatch.setattr(retry, "wait", wait)
    made = row(score=0.5)
    store.append(made)
    reader = Store(store.uri)
    proxy.spoil(kind, "GET", times=LONG)
    assert reader.trials()["test_score"].to_pylist() == [0.5]
    assert waited == [retry.SHORT[0]]
    proxy.spoil("reset", "PUT", times=LONG)
    patiently(store.save_checkpoint, made["trial_id"], b"22")
    assert waited == [retry.SHORT[0], retry.DELAYS[0]]
    assert store.load_checkpoint(made["trial_id"]) == b"22"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("denied", "ACCESS_DENIED.*AWS_PROFILE.*s3:PutObject"),
        ("expired", "keys that have expired .*region=REGION"),
        ("elsewhere", "another region.*region=REGION"),
    ],
)
def test_what_does_not_pass_is_said_at_once(store: Store, proxy: FaultyProxy, kind: str, says: str) -> None:
    proxy.spoil(kind, times=LONG)
    with pytest.raises(ApetError, match=f"store {store.uri}: .*{says}"):
        store.append(row())
    with pytest.raises(ApetError, match=f"store {store.uri}: .*{says}"):
        store.attempts()


def test_no_bucket_and_no_keys(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ApetError, match=r"store s3://nowhere/x: .*aws s3 mb"):
        Store("s3://nowhere/x", create=True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(ApetError, match=rf"store {s3}: .*no keys, wrong ones.*AWS_PROFILE"):
        Store(s3, create=True)
