"""What is asked of Ray for packs that are for a type of node, without a cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from desk import Desk
from fake_worker import todo

from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.nodes import Node, elsewhere
from orchestrator.driver.ray.resources import request
from orchestrator.driver.ray.searcher import PackSearcher
from orchestrator.driver.ray.trainable import PackTrainable
from orchestrator.planning.devices import Machine
from orchestrator.planning.stocks import Stocks
from trials.setup import Setup

SMALL = Setup("cpu", threads=1, memory=2**30, node_type="small")
LARGE = Setup("cpu", threads=1, memory=2**33, node_type="large")
NODES = [Machine(2, 2**35, node_type="large"), Machine(1, 2**31, count=3, node_type="small")]
NODE_TYPE = "apet-node-type"


@pytest.fixture
def searcher() -> PackSearcher:
    """Ten trials of one backbone for each type, of which two and three run at a time."""
    desk = Desk()
    setups = {0: SMALL, 1: LARGE}
    todos = [todo(i, learning_rate=0.1 * n) for i in setups for n in range(1, 11)]
    elsewhere = {"large"}
    desk.dispatch.stock = Stocks(
        todos,
        lambda trial: setups[trial.train_seed],
        ["large", "small"],
        lambda trial, without: LARGE if elsewhere - without else None,
    )
    desk.dispatch.stock.share_out(NODES, 100)
    return PackSearcher(desk.dispatch, Launch("store", "run", "module:name"), asks_memory=True)


def asked(searcher: PackSearcher) -> dict[str, Any]:
    """Of all packs that it suggests, by Tune's trial id."""
    found: dict[str, Any] = {}
    while isinstance(config := searcher.suggest(f"{len(searcher.packs)}"), dict):
        found[f"{len(searcher.packs) - 1}"] = PackTrainable.default_resource_request(config)
    return found


def labels(one: Any) -> list[dict[str, str]]:
    return list(one._bound.kwargs.get("bundle_label_selector", []))


def types(found: dict[str, Any]) -> Counter[str]:
    return Counter(labels(one)[0][NODE_TYPE] for one in found.values())


def test_as_many_packs_of_each_type_wait_as_run_at_a_time(searcher: PackSearcher) -> None:
    first = asked(searcher)
    assert types(first) == {"large": 2, "small": 3}
    assert [labels(one)[0][NODE_TYPE] for one in first.values()][:2] == ["large"] * 2
    memory = {labels(one)[0][NODE_TYPE]: one.bundles[0]["memory"] for one in first.values()}
    assert memory == {"large": 2**33, "small": 2**30}, "of one backbone, each as much as its own take"
    for trial_id in ("0", "4"):
        searcher.begun(trial_id)
    assert types(asked(searcher)) == {"large": 1, "small": 1}, "of each, one has a worker"


def test_what_waits_for_a_type_that_is_left_goes_elsewhere(searcher: PackSearcher) -> None:
    asked(searcher)
    for trial_id in [trial_id for trial_id, kind in searcher.pending.items() if kind == "small"]:
        searcher.on_trial_complete(trial_id)  # as Tune says of one that it takes back
    searcher.leave("small")
    assert not searcher.dispatch.counts.done
    assert set(searcher.pending.values()) == {"large"}
    for trial_id in list(searcher.packs):
        searcher.begun(trial_id)
    assert types(asked(searcher)) == {"large": 2}
    assert sum(len(one.open) for one in searcher.dispatch.running.values()) == 4


def test_types_that_are_not_had_for_long_are_sold_out(searcher: PackSearcher, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    found = list(asked(searcher))
    assert searcher.sold_out() == set()
    searcher.begun(found[0])
    now = 900.0
    assert searcher.sold_out() == {"small"}, "a large one is there"


def test_labels_of_bundles() -> None:
    gang = replace(LARGE, ranks=2)
    assert labels(request(Setup("cpu", threads=1))) == []
    assert labels(request(gang)) == [{NODE_TYPE: "large"}] * 2
    assert labels(request(gang, ["b", "a"])) == [{NODE_TYPE: "large", "ray.io/node-id": "!in(a, b)"}] * 2


def test_a_trial_that_failed_goes_to_another_node_of_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    has = {"CPU": 4.0, "memory": 2.0**36}
    nodes = [Node(has, name, name, {NODE_TYPE: kind}) for name, kind in (("a", "large"), ("b", "small"))]
    monkeypatch.setattr("orchestrator.driver.ray.nodes.alive", lambda: [*nodes, Node(has, "c", "c")])
    assert elsewhere(LARGE, "b", set()) == "a"
    assert elsewhere(LARGE, "a", set()) == ""
