"""A machine is lost with no notice: no failure of a trial, said in one line, and its pack goes on elsewhere."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desk import LONG, Desk, preempted, seeds
from drivers import parent
from fake_worker import WORKER, behave, todo
from raylets import raylet, raylets, with_a_rank

from orchestrator.driver.ray import lost
from orchestrator.driver.ray.deaths import Death, broken, explain
from orchestrator.driver.retries import IN_A_ROW
from orchestrator.driver.run import execute
from trials.failures import INFRASTRUCTURE, PREEMPTED
from trials.store.store import Store
from trials.sweep.resources import Resources
from workers.gang.verdict import GangError
from workers.pack.progress import Progress

STEPS = 24  # of a gang, in seven seconds: Ray alone takes longer to end ranks without their raylet


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with raylets(monkeypatch) as made:
        yield made


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_raylet_that_is_killed(cluster: Any, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    nodes = {node.node_id: node for node in (cluster.add_node(num_cpus=1) for _ in range(2))}
    todos = [todo(i) for i in range(2)]
    behave(store, {one.trial.trial_id: "sleep:3" for one in todos})
    killed = list[str]()

    def kill() -> None:
        while len(running := store.running()) < 2:
            time.sleep(0.1)
        its = parent(int(next(iter(running.values()))["worker_id"].rpartition("-")[2]))
        killed.extend(node_id for node_id, node in nodes.items() if raylet(node) == its)
        os.kill(its, signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    summary = execute(todos, store, Resources(retries=0), address=cluster.address, quiet=True, worker=WORKER)
    thread.join()
    assert (summary.completed, summary.failed) == (2, 0)
    rows = store.attempts().to_pylist()
    assert [row["attempt"] for row in rows] == [0, 0]
    assert {row["node_type"] for row in rows} == set(nodes) - set(killed)
    assert capfd.readouterr().err.count("was lost; what trained there goes on elsewhere") == 1


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_process_that_dies_on_a_machine_that_lives_is_no_lost_machine(
    cluster: Any, store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.add_node(num_cpus=1)
    one = todo(0)
    behave(store, {one.trial.trial_id: "die"})
    summary = execute([one], store, Resources(retries=0), address=cluster.address, quiet=True, worker=WORKER)
    assert summary.failed == 1
    (row,) = store.attempts().to_pylist()
    assert row["failure_class"] == INFRASTRUCTURE
    assert "was lost" not in capfd.readouterr().err


@pytest.mark.cluster
@pytest.mark.timeout(300)
@pytest.mark.parametrize("beside_the_worker", [False, True])
def test_a_gang_of_which_a_machine_is_lost(
    beside_the_worker: bool,
    cluster: Any,
    store: Store,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one with a rank alone, or the one with the gang's worker too; the pack goes on with a machine to spare."""
    monkeypatch.setenv("APET_TEST_REST_S", "0.3")
    raylets = [raylet(cluster.add_node(num_cpus=1)) for _ in range(3)]
    one, killed = todo(0, steps=STEPS), list[int]()

    def kill() -> None:
        while int(store.load_checkpoint(one.trial.trial_id) or b"0") < 4:
            time.sleep(0.1)
        (beat,) = store.running().values()
        its = parent(int(beat["worker_id"].rpartition("-")[2]))
        killed.extend([its] if beside_the_worker else [pid for pid in raylets if pid != its and with_a_rank(pid)])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    wanted = Resources(gpus=0, ranks=2, zero_stage=3, retries=0)
    summary = execute([one], store, wanted, address=cluster.address, quiet=True, worker="ganged_worker:GangedWorker")
    thread.join()
    assert (summary.completed, summary.failed, len(killed)) == (1, 0, 1)
    (row,) = store.attempts().to_pylist()
    assert (row["state"], row["attempt"], row["ranks"]) == ("completed", 0, 2)
    assert row["steps_done"] <= STEPS - 4, "from its checkpoint"
    assert capfd.readouterr().err.count(f"{socket.gethostname()} was lost; what trained there goes on elsewhere") == 1


def test_a_gang_whose_error_blames_a_rank_that_lives_was_lost_with_another_machine() -> None:
    """The one that says nothing may only wait for the one that is gone."""
    error = GangError(1, 3, "step 5", "RankHangs", "it hangs")
    assert broken(error, "b", "host-b", ("a", "b", "c")).others == ("a", "b", "c")


def machine_lost(host: str) -> Death:
    return replace(preempted("it died"), node=f"id of {host}", host=host, lost=True)


def test_a_lost_machine_is_said_once_and_spends_no_retry() -> None:
    desk = Desk(*(todo(i) for i in range(4)), retries=0)
    packs = [desk.take() for _ in range(4)]
    for pack, host in zip(packs, ("one", "one", "two", "one"), strict=True):
        desk.dispatch.lost(pack.pack_id, machine_lost(host))
    assert desk.notes == [
        f"the machine {host} was lost; what trained there goes on elsewhere, from its checkpoint"
        for host in ("one", "two")
    ]
    assert sorted(seeds(desk.take())[0][1:] for _ in range(4)) == [(i, 0) for i in range(4)]
    assert desk.given_up == []


def test_a_pack_under_which_machine_after_machine_is_lost_counts_after_all() -> None:
    desk = Desk(*(todo(0, learning_rate=rate) for rate in (0.1, 0.2)), retries=1, pack_size=2)
    for number in range(IN_A_ROW):
        pack = desk.take()
        assert {attempt for *_, attempt in seeds(pack)} == {0}
        desk.dispatch.lost(pack.pack_id, machine_lost(f"host-{number}"))
    assert desk.dispatch.next() is None, "after a while, each alone"
    for pack in [desk.take(LONG), desk.take()]:
        assert [attempt for *_, attempt in seeds(pack)] == [1]
        desk.dispatch.lost(pack.pack_id, machine_lost("the last"))
    assert not desk.dispatch.waiting
    assert [reason for *_, reason in desk.given_up] == [
        f"{IN_A_ROW + 1} machines in a row were lost while it ran, the last the last: it died"
    ] * 2


def test_machines_that_are_lost_under_a_pack_that_gets_on_do_not_count() -> None:
    desk = Desk(todo(0), retries=0)
    for number in range(4 * IN_A_ROW):
        pack = desk.take()
        if number % 4 == 0:
            desk.dispatch.report(Progress(pack.pack_id, 1 + number, 100, {}, ()))
        desk.dispatch.lost(pack.pack_id, machine_lost(f"host-{number}"))
    desk.end(desk.take())
    assert (desk.given_up, desk.dispatch.counts.completed) == ([], 1)


@pytest.mark.parametrize(
    ("alive", "answering", "host"),
    [
        (True, {"a", "b"}, ""),
        (True, {"b"}, "host-a"),
        (True, set(), ""),  # nothing can be reached from here: that says nothing of a machine
        (False, {"a", "b"}, "host-a"),
    ],
)
def test_what_a_lost_machine_is(monkeypatch: pytest.MonkeyPatch, alive: bool, answering: set[str], host: str) -> None:
    import ray

    nodes = [{"NodeID": name, "Alive": alive or name == "b", "NodeManagerHostname": f"host-{name}"} for name in "ab"]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(lost, "_answers", lambda node: node["NodeID"] in answering)
    found = lost.judged(Death("X", "x", "", node="a", host="said"))
    expected = (host, PREEMPTED, True) if host else ("said", INFRASTRUCTURE, False)
    assert (found.host, found.failure_class, found.lost) == expected
    assert lost.judged(explain("of no known node")).failure_class == INFRASTRUCTURE
    gang = lost.judged(Death("RankDied", "x", "", node="b", host="said", others=("a", "b")))
    assert (gang.host, gang.node, gang.lost) == ((host, "a", True) if host else ("said", "b", False))
