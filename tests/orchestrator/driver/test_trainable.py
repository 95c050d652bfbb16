"""The adapter between Tune and a worker, without a cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from desk import Desk
from fake_worker import FakeWorker, behave, todo

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.launch import Launch
from orchestrator.driver.ray.deaths import WorkerBroken
from orchestrator.driver.ray.ranks import Place, RankActor, RayRanks
from orchestrator.driver.ray.resources import request
from orchestrator.driver.ray.searcher import PackSearcher
from orchestrator.driver.ray.trainable import EXCLUDED, NODE, PACK, REFUSED, REPORT, PackTrainable, worker_of
from orchestrator.driver.room import Room
from orchestrator.planning.devices import Machine
from orchestrator.planning.packing import packs
from orchestrator.planning.stocks import Stocks
from orchestrator.results.status import Counts, status
from trials.failures import PREEMPTED, InfrastructureError
from trials.pack import Pack
from trials.setup import Setup
from trials.store.store import Store
from workers.gang.supervisor import GangError, GangWorker
from workers.pack.progress import Progress


class Beats:
    """A heartbeat that is written at once."""

    told = False

    def __init__(self, store: Store) -> None:
        self.store = store

    def say(self, payload: dict[str, Any], now: bool = False) -> None:
        if now:
            self.store.beat("run", "worker", payload)

    def should_stop(self) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def made(store: Store, monkeypatch: pytest.MonkeyPatch) -> PackTrainable:
    monkeypatch.setattr("orchestrator.driver.ray.trainable.is_excluded", lambda run_id, node: node == "excluded")
    trainable = object.__new__(PackTrainable)
    trainable.worker, trainable.heartbeat, trainable.run_id, trainable.node = None, Beats(store), "run", "node"
    trainable.nodes = ()
    return trainable


def begin(trainable: PackTrainable, worker: Any, pack: Pack) -> None:
    trainable.worker = worker
    trainable.reset_config({PACK: pack.to_json()})


def pack_of(*rates: float) -> Pack:
    todos = [todo(0, learning_rate=rate) for rate in rates]
    return packs(todos, Setup(pack_size=len(rates)))[0].pack("pack")


def test_a_trial_that_failed_while_its_pack_goes_on_is_not_running(store: Store, made: PackTrainable) -> None:
    pack = pack_of(0.1, 0.2, 0.3)
    bad = pack.members[1].trial.trial_id
    behave(store, {bad: "fail-first"})
    begin(made, FakeWorker(store), pack)
    assert len(store.running()) == 3
    result = made.step()
    assert [ended.trial_id for ended in Progress.from_json(result[REPORT]).ended] == [bad]
    assert set(store.running()) == {member.trial.trial_id for member in pack.members} - {bad}
    assert status(store).total == Counts(failed=1, running=2, failures={"bad_trial": 1})
    while not result["done"]:
        result = made.step()
    assert status(store).total == Counts(failed=1, done=2, failures={"bad_trial": 1})


def test_what_a_worker_raises_ends_the_actor_in_plain_values(store: Store, made: PackTrainable) -> None:
    behave(store, {"sick": "any"})
    begin(made, FakeWorker(store), pack_of(0.1))
    with pytest.raises(WorkerBroken, match=r"^ValueError: pack pack: CUDA error: an illegal memory access") as caught:
        made.step()
    assert (caught.value.error_class, caught.value.node) == ("ValueError", "node")
    assert all(isinstance(value, str) or value == () for value in caught.value.args)


def test_on_a_node_that_gets_nothing_more_no_pack_is_begun(made: PackTrainable) -> None:
    class Untouched:
        def run(self, pack: Pack, should_stop: Callable[[], bool]) -> Iterator[Progress]:
            pytest.fail("begun")
            yield

    made.node = "excluded"
    begin(made, Untouched(), pack_of(0.1))
    assert made.step() == {"done": True, REFUSED: True}


def test_every_result_says_the_node(store: Store, made: PackTrainable) -> None:
    begin(made, FakeWorker(store), pack_of(0.1))
    assert made.step()[NODE] == "node"


def test_a_pack_of_one_rank_has_one_bundle() -> None:
    plain = request(Setup("cpu", threads=1))
    assert plain.bundles == [{"CPU": 1.0}]
    assert plain == request(Setup("cpu", threads=1, pack_size=3)), "a worker is kept for whatever asks for the same"
    assert plain != request(Setup("cpu", threads=1), ["b", "a"]) == request(Setup("cpu", threads=1), ["a", "b"])
    assert request(Setup(), near="ab").strategy == "STRICT_PACK"


def test_a_gang_has_a_bundle_a_rank_on_one_node_and_its_worker_none() -> None:
    setup = Setup("cuda", gpus=4, ranks=4, threads=2, memory=3 * 2**30)
    gang = request(setup)
    assert gang.bundles == [{"CPU": 2.0, "GPU": 1.0, "memory": 3.0 * 2**30}] * 4
    assert (gang.head_bundle_is_empty, gang.strategy) == (True, "STRICT_PACK")
    assert gang == request(replace(setup, pack_size=3)) != request(replace(setup, ranks=2, gpus=2))
    elsewhere = request(setup, ["b", "a"], near="c")
    assert elsewhere._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "!in(a, b)"}] * 4, "Ray wants one a bundle"
    assert elsewhere._kwargs["_soft_target_node_id"] == "c"
    asked = request(Setup("cpu", ranks=2, zero_stage=3, threads=1))
    assert asked.bundles == [{"CPU": 1.0}] * 2


def test_a_gang_over_machines_has_a_bundle_each_on_nodes_of_their_own() -> None:
    setup = Setup("cuda", gpus=4, ranks=4, machines=2, threads=2, memory=3 * 2**30)
    gang = request(setup, ["b", "a"], near="c")
    assert gang.bundles == [{"CPU": 4.0, "GPU": 2.0, "memory": 6.0 * 2**30}] * 2
    assert (gang.head_bundle_is_empty, gang.strategy) == (True, "STRICT_SPREAD")
    assert gang._kwargs["bundle_label_selector"] == [{"ray.io/node-id": "!in(a, b)"}] * 2
    assert "_soft_target_node_id" not in gang._kwargs, "there is no single one that it could be near"


def test_a_rank_that_cannot_go_on_is_blamed_on_its_own_machine(store: Store, made: PackTrainable) -> None:
    made.worker = worker_of(Setup("cpu", ranks=2, machines=2, threads=1), Launch(store.uri, "run", ""), store)
    error = GangError(1, 2, "step 3", "RankDied", "its process ended")
    assert made._blamed(error) == ("node", socket.gethostname()), "no gang has met yet"
    ranks = made.worker.launcher._ranks = RayRanks([], local=False)
    ranks.places = [Place("node", "here", "10.0.0.1"), Place("other", "there", "10.0.0.2")]
    assert made._blamed(error) == ("other", "there")
    assert made._blamed(ValueError()) == ("node", socket.gethostname())


def test_packs_of_several_ranks_have_a_gang_that_ends_with_its_actor(
    store: Store, made: PackTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = list[GangWorker]()
    monkeypatch.setattr(GangWorker, "close", lambda self: closed.append(self))
    launch = Launch(store.uri, "run", "fake_worker:FakeWorker")
    made.worker = worker_of(Setup("cpu", threads=1), launch, store)
    assert isinstance(made.worker, FakeWorker)
    made.cleanup()
    assert not closed
    made.worker = worker_of(Setup("cpu", ranks=2, threads=1), launch, store)
    assert isinstance(made.worker, GangWorker)
    made.cleanup()
    assert closed == [made.worker]


def test_a_worker_stays_warm_for_packs_that_take_different_memory() -> None:
    """Tune keeps a worker for what asks for the same; on a machine of its own, the room counts memory."""
    light, heavy, other = Setup("cpu", threads=1, memory=2**30), Setup("cpu", threads=1, memory=2**33), Setup("cpu")
    setups = {0: heavy, 1: light, 2: replace(other, threads=1)}
    todos = [todo(0), todo(1), todo(2, "tiny-t5")]
    asked = {}
    for name, room in (("cluster", None), ("alone", Room((Machine(8, 2**36),)))):
        stock = Stocks(todos, lambda one: setups[one.train_seed])
        dispatch = Dispatch(stock, "run", 0, lambda one: None, lambda attempt: True, lambda one, why: None)
        searcher = PackSearcher(dispatch, Launch("store", "run", "module:name"), room, asks_memory=room is None)
        asked[name] = []
        while dispatch.stock:
            config = searcher.suggest(f"{len(asked[name])}")
            assert isinstance(config, dict)
            asked[name].append(PackTrainable.default_resource_request(config).required_resources)
    one = {"CPU": 1.0}
    assert asked["cluster"] == [one | {"memory": 2.0**33}, one | {"memory": 2.0**33}, one]
    assert asked["alone"] == [one] * 6, "three workers that start, and three packs"


def test_gangs_share_a_machine_with_packs_of_one_rank() -> None:
    gang, one = Setup("cpu", ranks=2, zero_stage=3, threads=1, memory=2**30), Setup("cpu", threads=1)
    todos = [*(todo(i) for i in range(3)), *(todo(9, "tiny-t5", learning_rate=rate) for rate in (0.1, 0.2))]
    stock = Stocks(todos, lambda trial: one if trial.train_seed == 9 else gang)
    dispatch = Dispatch(stock, "run", 0, lambda one: None, lambda attempt: True, lambda one, why: None, 2)
    searcher = PackSearcher(dispatch, Launch("store", "run", "module:name"), Room((Machine(3, 2**36),)))

    def suggested() -> dict[str, float]:
        """CPUs that are asked for until nothing more fits."""
        found = dict[str, float]()
        while isinstance(config := searcher.suggest(name := f"{len(found)}-{dispatch.counts.done}"), dict):
            found[name] = PackTrainable.default_resource_request(config).required_resources["CPU"]
            if len(found) == 2 and not config[PACK]:
                break
        return found

    for _ in range(2):  # workers that start, and then their packs
        found = suggested()
        assert sorted(found.values()) == [1, 2], "both, and no other beside them, on three CPUs"
        for name in found:
            searcher.on_trial_complete(name, {})


def test_the_worker_whose_pack_ended_goes_on_with_its_backbone() -> None:
    """Tune gives the next suggestion to the worker that has been idle longest."""
    todos = [todo(i, name) for name in ("tiny-bert", "tiny-t5", "tiny-bloom") for i in range(4)]
    dispatch = Dispatch(Stocks(todos), "run", 0, lambda one: None, lambda attempt: True, lambda one, why: None, 2)
    searcher = PackSearcher(dispatch, Launch("store", "run", "module:name"), Room((Machine(2, 2**36),)))

    def suggested(name: str) -> str:
        config = searcher.suggest(name)
        assert isinstance(config, dict)
        return Pack.from_json(config[PACK]).members[0].trial.backbone.name if config[PACK] else ""

    assert [suggested("start-0"), suggested("start-1")] == ["", ""]
    for name in ("start-0", "start-1"):
        searcher.on_trial_complete(name, {})
    first = {name: suggested(name) for name in ("a", "b")}
    assert len(set(first.values())) == 2, "each loads its own"
    assert searcher.suggest("c") is None, "both are busy"
    for ended in ("b", "a", "b", "b"):
        searcher.on_trial_complete(ended, {"done": True})
        assert suggested(ended) == first[ended]


def test_a_worker_that_alone_was_told_to_stop_takes_no_other_pack(store: Store, made: PackTrainable) -> None:
    """It would be through with each at once, without a row: in a minute all that is left would have failed."""
    begin(made, FakeWorker(store), pack_of(0.1))
    made.heartbeat.told = True
    with pytest.raises(WorkerBroken, match="told to stop") as caught:
        made.step()
    assert caught.value.failure_class == PREEMPTED, "a pack that wasn't begun has spent nothing"


def test_a_worker_with_other_code_begins_nothing_and_its_node_gets_nothing_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = pack_of(0.1)
    desk = Desk(todo(0, learning_rate=0.1), retries=0)
    desk.dispatch.others = lambda excluded: excluded < {"strange", "other"}
    searcher = PackSearcher(desk.dispatch, Launch(store.uri, "run", "fake_worker:FakeWorker", "the driver's"))
    monkeypatch.setattr("orchestrator.driver.ray.searcher.exclude", lambda run_id, node: None)
    monkeypatch.setattr("orchestrator.driver.ray.trainable.digest", lambda: "another")
    monkeypatch.setattr("orchestrator.driver.ray.trainable.say_type", lambda: None)
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "strange"))
    config = searcher.suggest("first")
    assert isinstance(config, dict)
    trainable = object.__new__(PackTrainable)
    trainable.setup(config)
    result = trainable.step()
    trainable.cleanup()
    assert result["done"]
    assert not trainable.open
    searcher.on_trial_complete("first", result)
    assert desk.dispatch.nodes.excluded == {"strange"}
    assert "its code is another, and the driver's is the driver's" in desk.notes[0]
    again = searcher.suggest("second")
    assert isinstance(again, dict)
    assert again[EXCLUDED] == "strange"
    assert [m.attempt for m in Pack.from_json(again[PACK]).members] == [m.attempt for m in pack.members] == [0]
    desk.dispatch.shun("other", "so is the other one")
    assert desk.dispatch.hopeless == "so is the other one"


def test_ranks_of_a_gang_with_other_code_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.driver.ray.ranks.digest", lambda: "another")
    with pytest.raises(InfrastructureError, match="its code is another"):
        RankActor("cpu", "the driver's")
