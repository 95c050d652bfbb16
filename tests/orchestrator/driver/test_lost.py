"""A machine is lost with no notice: no failure of a trial, said in one line, and its pack goes on elsewhere."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_worker import WORKER, behave, todo
from paths import ROOT, SUPPORT

from orchestrator.driver.ray import lost
from orchestrator.driver.ray.deaths import Death, explain
from orchestrator.driver.run import execute
from trials.failures import INFRASTRUCTURE, PREEMPTED
from trials.store.store import Store
from trials.sweep.resources import Resources


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs, to which nodes are added; the test's process is the driver."""
    from orchestrator.driver.ray.cluster import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=made.address, log_to_driver=False, logging_level=50)
    yield made
    ray.shutdown()
    made.shutdown()


def raylet(node: Any) -> int:
    """The process id of a node's raylet."""
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


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
        pid = int(next(iter(running.values()))["worker_id"].rpartition("-")[2])
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        killed.extend(node_id for node_id, node in nodes.items() if raylet(node) == parent)
        os.kill(parent, signal.SIGKILL)

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
