"""Clusters of several nodes, of nodes that aren't there yet, and of none that could do anything."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drivers import parent
from fake_worker import WORKER, behave, todo
from ray_start import RAY

from orchestrator.driver.ray.autoscaler import Kind, groups, more
from orchestrator.driver.ray.nodes import Node, card_bytes, elsewhere, of_resources
from orchestrator.driver.ray.resources import request
from orchestrator.driver.run import execute
from orchestrator.planning.devices import Machine
from trials.errors import ApetError
from trials.setup import Setup
from trials.store.store import Store
from trials.sweep.resources import Resources

GIB = 2**30
GANGED = "ganged_worker:GangedWorker"  # of support; it has torch


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


def rows(store: Store) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.attempts().to_pylist()
    return found


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_sick_node_gets_nothing_more_and_its_trials_go_elsewhere(
    start: Callable[..., str], store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    import ray

    start("--num-cpus=0")
    for _ in range(2):
        address = start("--num-cpus=1", head=False)
    ray.init(address=address, log_to_driver=False, logging_level=50)
    try:
        workers = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]
        todos = [todo(i) for i in range(16)]
        behave(store, {"sick": workers[0]})
        summary = execute(todos, store, Resources(retries=5), address=address, quiet=True, worker=WORKER)
    finally:
        ray.shutdown()
    assert (summary.completed, summary.failed) == (16, 0)
    assert {row["node_type"] for row in rows(store)} == {workers[1]}
    assert sum(row["attempt"] for row in rows(store)) == 5, "failures, each a new attempt"
    assert "5 packs in a row failed, it gets nothing more" in capfd.readouterr().err


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_gang_is_on_one_node_whatever_it_must_avoid(start: Callable[..., str]) -> None:
    import ray
    from ray.util import placement_group_table, remove_placement_group

    start("--num-cpus=0")
    for _ in range(2):
        address = start("--num-cpus=3", head=False)
    ray.init(address=address, log_to_driver=False, logging_level=50)
    gang = Setup("cpu", ranks=2, zero_stage=3, threads=1)

    def put(*excluded: str, near: str = "", gang: Setup = gang) -> tuple[Any, list[str]]:
        group = request(gang, excluded, near).to_placement_group()
        there = group.wait(5)
        return group, [*placement_group_table(group)["bundles_to_node_id"].values()] if there else []

    try:
        one, two = (node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU"))
        for excluded, near, wanted in (((), one, one), ((), two, two), ((one,), "", two), ((two,), two, one)):
            group, found = put(*excluded, near=near)
            assert found == [wanted] * 2
            remove_placement_group(group)
        spread, found = put(gang=replace(gang, ranks=4, machines=2))
        assert {*found} == {one, two}, "two ranks on each"
        remove_placement_group(spread)
        (_, first), (_, second), (_, third) = put(), put(), put()
        assert [{*first}, {*second}] in ([{one}, {two}], [{two}, {one}])
        assert third == [], "two CPUs are free, one on each node"
    finally:
        ray.shutdown()


@pytest.mark.cluster
@pytest.mark.timeout(300)
def test_a_gang_whose_node_is_taken_away_goes_on_elsewhere_and_has_not_failed(
    start: Callable[..., str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("APET_TEST_REST_S", "0.3")
    start("--num-cpus=0")
    address = start("--num-cpus=2", head=False)
    ray.init(address=address, log_to_driver=False, logging_level=50)
    (node,) = (node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU"))
    one = todo(0, steps=60)

    def take_away() -> None:
        while int(store.load_checkpoint(one.trial.trial_id) or b"0") < 4:
            time.sleep(0.1)
        (running,) = store.running().values()
        start("--num-cpus=2", head=False)
        why = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", "--deadline-remaining-seconds=1"]
        subprocess.run([*RAY, "drain-node", f"--address={address}", f"--node-id={node}", *why], check=True)
        time.sleep(2.0)
        os.kill(parent(int(running["worker_id"].rpartition("-")[2])), signal.SIGKILL)  # Ray's on that node

    threading.Thread(target=take_away, daemon=True).start()
    try:
        wanted = Resources(gpus=0, ranks=2, zero_stage=3, retries=0)
        execute([one], store, wanted, address=address, quiet=True, worker=GANGED)
    finally:
        ray.shutdown()
    (row,) = rows(store)
    assert (row["state"], row["attempt"], row["ranks"]) == ("completed", 0, 2)
    assert row["steps_done"] < 58, "from its checkpoint"


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_gpu_nodes_that_are_not_there_yet_are_waited_for(start: Callable[..., str], store: Store) -> None:
    address = start("--num-cpus=2", with_autoscaler=True)
    summary = execute([todo(i) for i in range(3)], store, address=address, quiet=True, worker=WORKER)
    assert summary.completed == 3
    assert {row["device"] for row in rows(store)} == {"cuda"}, "it trained on the head's CPU"


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_cluster_with_nothing_and_nothing_to_come(
    start: Callable[..., str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.driver.ray import remote

    monkeypatch.setattr(remote.machines, "__defaults__", (3.0,))
    address = start("--num-cpus=0")
    with pytest.raises(ApetError, match=r"1 nodes, none of them with a CPU or a GPU.*ray start"):
        execute([todo(0)], store, address=address, quiet=True, worker=WORKER)


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_a_cluster_whose_nodes_register_a_little_later(start: Callable[..., str], store: Store) -> None:
    address = start("--num-cpus=0")
    later = threading.Timer(4.0, start, ["--num-cpus=1"], {"head": False})
    later.start()
    assert execute([todo(0)], store, address=address, quiet=True, worker=WORKER).completed == 1
    later.join()


def test_node_types_of_a_cluster_file() -> None:
    config = {
        "max_workers": 6,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 2}, "max_workers": 0},
            "p4d": {
                "resources": {"CPU": 96, "GPU": 8, "memory": 900 * GIB, "accelerator_type:A100": 1},
                "labels": {"apet-node-type": "large", "apet-price": "9.5"},
            },
            "small": {"resources": {"CPU": 8}, "max_workers": 2},
        },
    }
    found = [of_resources(kind.resources, kind.name, kind.limit, kind.labels) for kind in groups(config)]
    p4d = Machine(96, 900 * GIB, 8, 40 * GIB, 6, "p4d", card="a100-40", price=9.5, node_type="large")
    assert found == [p4d, Machine(8, 128 * GIB, count=2, name="small")]
    assert groups({}) == []


@pytest.mark.parametrize("text", ["cheap", "-1", "nan", "inf", "$2"])
def test_a_price_that_is_none(text: str) -> None:
    with pytest.raises(ApetError, match=rf"label apet-price of p4d: '{re.escape(text)}' is no price.*dollars an hour"):
        of_resources({"CPU": 2.0}, "p4d", labels={"apet-price": text})


def test_node_types_of_one_size_are_told_apart_by_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (Kind(name, {"CPU": 4, "GPU": 1}, 3, {"apet-node-type": name}) for name in ("g5", "g6"))
    monkeypatch.setattr("ray._private.state.state.get_cluster_config", lambda: None)
    monkeypatch.setattr("orchestrator.driver.ray.autoscaler._on_head", lambda ray: [one, two])
    there = Kind("10.0.0.7", {"CPU": 4, "GPU": 1}, 1, {"apet-node-type": "g6"})
    assert {kind.name: kind.limit for kind in more([there])} == {"g5": 3, "g6": 2}


def test_node_groups_that_a_cluster_was_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray._private.state
    from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

    big = NodeGroupConfig(name="big", resources={"CPU": 8, "GPU": 4}, max_count=3)
    endless = NodeGroupConfig(name="endless", resources={"CPU": 2}, max_count=-1)
    head = NodeGroupConfig(name="head", resources={}, max_count=1)
    config = ClusterConfig(node_group_configs=[big, endless, head])
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: config)
    there = Kind("10.0.0.7", {"CPU": 8.0, "GPU": 4.0, "memory": 2.0**36}, 1)
    assert [(kind.name, kind.limit) for kind in more([there])] == [("big", 2), ("endless", 1000)]
    assert [kind.name for kind in more([there] * 3)] == ["endless"]


def test_a_node_for_a_trial_that_failed_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    card = {"CPU": 4.0, "GPU": 1.0, "memory": 8.0 * GIB}
    nodes = [Node({"CPU": 8.0, "memory": 64.0 * GIB}, "head", "a"), Node(card, "one", "b"), Node(card, "two", "c")]
    monkeypatch.setattr("orchestrator.driver.ray.nodes.alive", lambda: nodes)
    setup = Setup("cuda", gpus=1, memory=4 * GIB)
    assert elsewhere(setup, "b", set()) == "c"
    assert elsewhere(setup, "", set()) == "", "it hasn't failed"
    assert elsewhere(setup, "b", {"c"}) == "", "the head has no card"
    assert elsewhere(Setup("cpu", threads=6), "b", {"c"}) == "a"
    assert elsewhere(replace(setup, memory=16 * GIB), "b", set()) == ""
    gang = Setup("cpu", ranks=3, threads=2, memory=GIB)
    assert elsewhere(gang, "b", set()) == "a", "one node holds all of it"
    assert elsewhere(replace(gang, ranks=5), "b", set()) == "", "ten CPUs on one node"


def test_cards_by_rays_names() -> None:
    names = ("A100", "A100-80G", "L40S", "something new")
    assert [round(card_bytes(name) / GIB) for name in names] == [40, 80, 45, 80]
    both = of_resources({"GPU": 1, "accelerator_type:A100": 1, "accelerator_type:A100-80G": 1}, "node")
    assert (both.card, round(both.card_bytes / GIB)) == ("a100-80", 80), "the name that says more"
