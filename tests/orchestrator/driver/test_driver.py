"""The driver on a real Ray, with workers that have no torch: one small cluster for all tests of this file."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_worker import WORKER, behave, todo

from orchestrator.driver.run import execute
from orchestrator.driver.summary import Summary
from orchestrator.planning.packing import Todo
from trials.errors import ApetError
from trials.setup import Setup
from trials.store.store import Store
from trials.sweep.resources import Resources

pytestmark = pytest.mark.cluster


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def run(todos: list[Todo], store: Store, **options: Any) -> Summary:
    resources = Resources(**{name: options.pop(name) for name in ("retries", "pack_size") if name in options})
    return execute(todos, store, resources, worker=WORKER, quiet=True, **options)


def attempts(store: Store) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.attempts().to_pylist()
    return sorted(rows, key=lambda row: (row["train_seed"], row["attempt"]))


def test_workers_stay_on_their_backbones(ray: Any, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    names = ("tiny-bert", "tiny-t5", "tiny-bloom")
    todos = [todo(i, name) for i in range(8) for name in names]
    for one in todos[:6]:
        behave(store, {one.trial.trial_id: "sleep:1" for one in todos[:6]})  # both workers get some of each
    summary = run(todos, store)
    assert (summary.completed, summary.remaining, summary.workers_started) == (24, 0, 2)
    rows = attempts(store)
    assert sorted(row["trial_id"] for row in rows) == sorted(one.trial.trial_id for one in todos)
    assert {(row["device"], row["threads"]) for row in rows} == {("cpu", 1)}, "one thread each"
    assert sum(row["load_s"] > 0 for row in rows) <= 3 + 2, "a worker stays on its backbone"
    assert store.running() == {}
    assert not list((Path(store.uri) / "runs").rglob("*.json"))
    out, err = capfd.readouterr()
    assert (out, err) == ("", ""), "Ray stays quiet"


def test_what_went_wrong_is_sorted_out(ray: Any, store: Store) -> None:
    todos = [todo(i) for i in range(10)]
    kinds = ["die", "die-once", "raise", "fail", "diverge", "lie"]
    behave(store, {one.trial.trial_id: kind for one, kind in zip(todos, kinds, strict=False)})
    summary = run(todos, store, retries=1)
    assert (summary.completed, summary.diverged, summary.failed, summary.remaining) == (5, 1, 4, 0)
    rows = attempts(store)
    found = {
        seed: [(r["attempt"], r["state"], r["error_class"]) for r in rows if r["train_seed"] == seed]
        for seed in range(10)
    }
    assert {row["failure_class"] for row in rows if row["state"] == "failed" and row["attempt"]} == {"infrastructure"}
    assert found[0] == [(1, "failed", "WorkerDied")]
    assert found[1] == [(1, "completed", None)]
    assert found[2] == [(1, "failed", "RuntimeError")]
    assert found[3] == [(0, "failed", None)], "a trial's own failure isn't repeated"
    assert found[4] == [(0, "diverged", None)]
    assert found[5] == [(1, "failed", "NoRow")]
    assert all(found[seed] == [(0, "completed", None)] for seed in range(6, 10))
    died, raised = rows[0], next(row for row in rows if row["train_seed"] == 2)
    assert died["error_message"].startswith("the worker process died (SYSTEM_ERROR): ")
    assert raised["error_message"] == "RuntimeError: told to raise"
    assert "fake_worker.py" in store.load_log(raised["log_uri"])
    assert summary.workers_started > 2


def test_workers_that_never_start_end_the_run(ray: Any, store: Store) -> None:
    behave(store, {"start": "die"})
    with pytest.raises(ApetError, match=r"no worker starts(.|\n)*told to die at the start"):
        run([todo(i) for i in range(20)], store)
    assert store.visible() == {}


def test_a_long_run_stays_small(ray: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.driver.ray.watch import Watch

    held = []
    on_step_end = Watch.on_step_end

    def spy(self: Any, iteration: int, trials: list[Any], **info: Any) -> None:
        held.append(len(trials))
        on_step_end(self, iteration, trials, **info)

    monkeypatch.setattr(Watch, "on_step_end", spy)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    before = set(session.rglob("working_dirs/*"))
    summary = run([todo(i, steps=0) for i in range(100)], store, max_concurrent=1)
    assert (summary.completed, summary.workers_started) == (100, 1)
    assert max(held) <= 4, "Tune holds trials that ended"
    assert 1 <= len(set(session.rglob("working_dirs/*")) - before) <= 2, "a folder a pack takes a minute to remove"


def test_packs_of_several_trials(ray: Any, store: Store) -> None:
    rates = [0.1 * n for n in range(1, 6)]
    todos = [todo(0, learning_rate=rate) for rate in rates]
    behave(store, {todos[2].trial.trial_id: "die-once"})
    summary = run(todos, store, pack_size=5, max_concurrent=1)
    rows = attempts(store)
    assert (summary.completed, len(rows)) == (5, 5)
    assert sorted((row["pack_size"], row["attempt"]) for row in rows) == [(1, 1)] * 3 + [(5, 0)] * 2


def test_what_another_driver_has_done_is_left_out(ray: Any, store: Store) -> None:
    todos = [todo(i) for i in range(3)]
    run(todos[:2], store)
    summary = run(todos, store)
    assert (summary.asked, summary.before, summary.completed) == (3, 2, 1)
    assert len(attempts(store)) == 3


def test_a_store_that_a_node_does_not_see_is_refused(ray: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.driver.ledger import Ledger
    from orchestrator.driver.ray.probe import probe

    probe(store, "run")
    monkeypatch.setattr(Ledger, "uri", property(lambda self: "/a/folder/of/another/node"))
    with pytest.raises(ApetError, match="not seen by 1 nodes"):
        probe(store, "run")
    assert not [path for path in (Path(store.uri) / "runs").rglob("*") if path.is_file()]


def test_a_sick_machine_ends_the_run_and_leaves_no_failed_rows(ray: Any, store: Store) -> None:
    behave(store, {"sick": "any"})
    start = time.monotonic()
    with pytest.raises(ApetError, match=r"5 packs in a row failed.*illegal memory access(.|\n)*run the same command"):
        run([todo(i) for i in range(5000)], store)
    assert time.monotonic() - start < 60
    assert attempts(store) == []
    assert store.running() == {}


def test_a_trial_whose_worker_was_lost_beside_a_long_pack_comes_back_at_once(ray: Any, store: Store) -> None:
    long, short = todo(0), todo(1)
    behave(store, {long.trial.trial_id: "sleep:10", short.trial.trial_id: "die-once"})
    assert run([long, short], store).completed == 2
    slow, again = attempts(store)
    assert again["attempt"] == 1
    assert again["finished_at"] < slow["finished_at"], "it waited for the long pack"


def test_packs_of_one_run_ask_for_what_each_takes(ray: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.planning.setups import Setups

    whole = Setups.setup
    monkeypatch.setattr(Setups, "setup", lambda self, one: replace(whole(self, one), threads=1 + one.train_seed // 10))
    todos = [todo(i) for i in (0, 10, 1, 11, 2, 12, 3, 13)]
    behave(store, {one.trial.trial_id: "sleep:1" for one in todos})
    summary = run(todos, store)
    rows = attempts(store)
    assert (summary.completed, {row["threads"] for row in rows}) == (8, {1, 2})
    for row in rows:
        at = row["started_at"]
        taken = sum(r["threads"] for r in rows if r["started_at"] <= at < r["finished_at"])
        assert taken <= 2, "this Ray has two CPUs"
    assert summary.workers_started <= 4


def test_a_pack_that_takes_more_than_there_is(ray: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.planning.setups import Setups

    monkeypatch.setattr(Setups, "setup", lambda self, one: Setup("cpu", threads=3))
    with pytest.raises(ApetError, match=r"a pack takes 3 CPUs.*this machine has 2 CPUs"):
        run([todo(0)], store)


def test_wrong_numbers_are_refused_before_anything_starts(store: Store) -> None:
    with pytest.raises(ApetError, match="max_concurrent 0"):
        run([todo(0)], store, max_concurrent=0)
