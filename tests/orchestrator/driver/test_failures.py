"""What comes back after a failure, when and where, what is given up, and why a worker couldn't go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from desk import LONG, Desk, preempted, seeds
from fake_worker import todo

from orchestrator.driver.ledger import Ledger
from orchestrator.driver.ray.deaths import Death, WorkerBroken, broken, death, explain
from orchestrator.driver.retries import IN_A_ROW
from trials.failures import INFRASTRUCTURE, PREEMPTED, InfrastructureError
from trials.store.store import Store
from workers.gang.verdict import GangError
from workers.pack.progress import Ended, Progress


def test_after_its_retries_a_trial_is_given_up_with_a_failed_row() -> None:
    desk = Desk(todo(0), retries=2)
    for attempt in range(3):
        assert desk.dispatch.waiting
        pack = desk.take(LONG)
        assert seeds(pack) == [("tiny-bert", 0, attempt)]
        assert not desk.given_up, "a row before the last attempt would hide the trial from the next run"
        desk.dispatch.lost(pack.pack_id, explain(f"death {attempt}"))
    assert not desk.dispatch.waiting
    assert desk.given_up == [(todo(0).trial.trial_id, 2, "death 2")]
    assert desk.dispatch.counts.failed == 1


def test_no_retries_means_none() -> None:
    desk = Desk(todo(0), retries=0)
    desk.dispatch.lost(desk.take().pack_id, explain("gone"))
    assert not desk.dispatch.waiting
    assert len(desk.given_up) == 1


def test_preemption_spends_no_retry() -> None:
    desk = Desk(todo(0), retries=1)
    for _ in range(20):
        desk.dispatch.lost(desk.take().pack_id, preempted("the machine went away"))
    pack = desk.take()
    assert seeds(pack) == [("tiny-bert", 0, 0)]
    desk.end(pack)
    assert (desk.given_up, desk.dispatch.counts.completed, desk.notes) == ([], 1, [])


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


def test_the_delay_grows_and_holds_up_nothing_else() -> None:
    desk = Desk(todo(0), todo(1), todo(2), retries=3)
    desk.dispatch.lost(desk.take().pack_id, explain("gone"))
    assert [seeds(desk.take())[0][1] for _ in range(2)] == [1, 2], "others go on"
    assert (desk.dispatch.next(), desk.dispatch.waiting) == (None, True)
    delays = []
    for attempt in (1, 2, 3):
        start = desk.now
        while (pack := desk.dispatch.next()) is None:
            desk.now += 0.5
        assert seeds(pack) == [("tiny-bert", 0, attempt)]
        delays.append(desk.now - start)
        desk.dispatch.lost(pack.pack_id, explain("gone"))
    assert delays == [3, 12, 48]


def test_it_is_not_over_as_long_as_something_runs_that_may_come_back() -> None:
    desk = Desk(todo(0), todo(1))
    first, second = desk.take(), desk.take()
    assert (desk.dispatch.waiting, desk.dispatch.over) == (False, False)
    desk.dispatch.lost(second.pack_id, preempted("gone"))
    again = desk.take()
    assert seeds(second) == seeds(again)
    desk.end(first)
    desk.end(again)
    assert desk.dispatch.over


def test_a_node_that_fails_whatever_it_gets_gets_nothing_more() -> None:
    desk = Desk(*(todo(i) for i in range(100)))
    desk.dispatch.others = lambda excluded: excluded < {"good", "sick"}
    for n in range(IN_A_ROW):
        assert desk.dispatch.nodes.excluded == set()
        sick, good = desk.take(), desk.take()
        desk.dispatch.runs_on(good.pack_id, "good", "host-1")
        desk.end(good)
        desk.dispatch.lost(
            sick.pack_id, Death("CudaError", f"illegal memory access {n}", "", node="sick", host="host-2")
        )
    assert desk.dispatch.nodes.excluded == {"sick"}
    assert desk.notes == [
        f"host-2: {IN_A_ROW} packs in a row failed, it gets nothing more; the last: illegal memory access 4"
    ]
    assert (desk.dispatch.hopeless, desk.dispatch.waiting) == ("", True)
    for _ in range(IN_A_ROW):
        desk.dispatch.lost(desk.take().pack_id, Death("X", "x", "", node="good", host="host-1"))
    assert "host-1" in desk.dispatch.hopeless
    assert (desk.dispatch.waiting, desk.dispatch.over, desk.dispatch.next()) == (False, True, None)
    assert (desk.dispatch.counts.failed, desk.given_up) == (0, []), "they stay missing"


def test_failures_with_a_success_between_exclude_no_node() -> None:
    desk = Desk(*(todo(i) for i in range(40)), retries=0)
    for n in range(40):
        pack = desk.take()
        desk.dispatch.runs_on(pack.pack_id, "node", "host")
        desk.end(pack, "failed") if n % IN_A_ROW == 0 else desk.dispatch.lost(pack.pack_id, explain("gone"))
    assert (desk.dispatch.nodes.excluded, desk.notes) == (set(), [])


def test_a_trial_that_comes_back_knows_where_it_failed() -> None:
    desk = Desk(todo(0))
    pack = desk.take()
    assert desk.dispatch.failed_on(pack) == ""
    desk.dispatch.lost(pack.pack_id, Death("X", "x", "", node="there"))
    assert desk.dispatch.failed_on(desk.take(LONG)) == "there"


def test_a_pack_that_a_worker_refused_is_the_next_one_and_costs_nothing() -> None:
    desk = Desk(todo(0), todo(1), todo(2, "tiny-t5"), retries=0)
    t5, bert = desk.take(), desk.take()
    desk.dispatch.refused(bert.pack_id)
    desk.dispatch.refused(t5.pack_id)
    assert [seeds(desk.take()) for _ in range(3)] == [seeds(t5), seeds(bert), [("tiny-bert", 1, 0)]]
    assert desk.dispatch.nodes.excluded == set()


def test_a_store_that_cannot_be_asked_makes_no_failure_of_what_was_done() -> None:
    def away(*_: object) -> Any:
        raise InfrastructureError("no route to the store")

    desk = Desk(todo(0), todo(1), todo(2), retries=0)
    desk.dispatch.stored = desk.dispatch.row_state = desk.dispatch.give_up = away
    desk.end(desk.take())
    assert desk.dispatch.counts.completed == 1, "the worker wrote it before it said so"
    desk.dispatch.lost(desk.take().pack_id, explain("gone"))
    assert (desk.dispatch.counts.failed, desk.dispatch.counts.interrupted) == (0, 1), "no row: the next run does it"
    assert "can't be written: no route to the store" in desk.notes[0]


def test_only_the_open_trials_of_a_lost_pack_come_back_and_alone() -> None:
    desk = Desk(*(todo(0, learning_rate=rate) for rate in (0.1, 0.2, 0.3)), pack_size=3)
    pack = desk.take()
    done = pack.members[1].trial.trial_id
    desk.dispatch.report(Progress(pack.pack_id, 1, 2, {}, (Ended(done, "completed", attempt_id="there"),)))
    desk.dispatch.lost(pack.pack_id, explain("gone"))
    again = [desk.take(LONG), desk.take()]
    assert [len(p.members) for p in again] == [1, 1], "the one that kills workers shall kill no neighbour"
    assert {p.members[0].trial.trial_id for p in again} == {m.trial.trial_id for m in pack.members} - {done}
    assert desk.dispatch.counts.completed == 1


@pytest.mark.parametrize("how", ["lost", "interrupted"])
def test_what_is_open_of_a_preempted_pack_comes_back_as_one_pack_and_costs_nothing(how: str) -> None:
    desk = Desk(*(todo(0, learning_rate=rate) for rate in (0.1, 0.2, 0.3, 0.4)), pack_size=4, retries=0)
    pack = desk.take()
    ids = [member.trial.trial_id for member in pack.members]
    desk.dispatch.report(Progress(pack.pack_id, 1, 2, {}, (Ended(ids[1], "completed", attempt_id="there"),)))
    if how == "lost":
        desk.dispatch.lost(pack.pack_id, preempted("the machine went away"))
    else:
        stopped = tuple(Ended(i, "interrupted") for i in ids)
        desk.dispatch.report(Progress(pack.pack_id, 1, 2, {}, stopped))
        desk.dispatch.finished(pack.pack_id)
    again = desk.take()
    assert [(m.trial.trial_id, m.attempt) for m in again.members] == [(i, 0) for i in (ids[0], *ids[2:])]
    assert desk.dispatch.next() is None


def test_a_size_that_a_worker_has_learnt_is_that_of_later_packs() -> None:
    """Also of what comes back; other backbones know nothing of it."""
    rates = [0.1 * n for n in range(1, 21)]
    desk = Desk(
        *(todo(0, name, learning_rate=rate) for name in ("tiny-t5", "tiny-bert") for rate in rates), pack_size=8
    )
    first = desk.take()
    assert len(first.members) == 8
    warm = todo(0, first.members[0].trial.backbone.name).warmth
    desk.dispatch.report(Progress(first.pack_id, 1, 2, {}, (), pack_size=3))
    desk.dispatch.lost(first.pack_id, preempted("gone"))
    sizes, others = [], []
    while pack := desk.dispatch.next(warm=warm):
        (sizes if pack.members[0].trial.backbone == first.members[0].trial.backbone else others).append(pack)
        desk.end(pack)
    assert [len(p.members) for p in sizes] == [3, 3, 3, 3, 3, 3, 2]
    assert {p.setup.pack_size for p in sizes[:4]} == {3}
    assert max(len(p.members) for p in others) == 8
    assert sorted(seeds(first)) == sorted(s for p in sizes[-3:] for s in seeds(p))


def test_a_row_that_the_driver_does_not_see_counts_as_lost() -> None:
    desk = Desk(todo(0), retries=1)
    for _ in range(2):
        desk.end(desk.take(LONG), attempt_id="nowhere")
    assert desk.dispatch.counts.completed == 0
    assert "same store" in desk.given_up[0][2]


def test_why_a_worker_was_lost(tmp_path: Path) -> None:
    text = (
        "The actor died unexpectedly before finishing this task.\n\tpid: 77\nThe actor is dead because its worker "
        "process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
        "connection error code 2. End of file. Some common causes include: (1) the process was killed"
    )
    (tmp_path / "worker-ab-01-77.err").write_text(":job_id:01\n:actor_name:PackTrainable\nFatal: Segmentation fault\n")
    died = explain(text, tmp_path)
    assert died.error_class == "WorkerDied"
    assert died.reason == (
        "the worker process died (SYSTEM_ERROR): Worker unexpectedly exits with a connection error code 2. End of file."
    )
    assert died.log.endswith("stderr:\nFatal: Segmentation fault")
    assert explain("something else").error_class == "WorkerDied"


class Told:
    """Tune's trial, as far as it says why it failed."""

    def __init__(self, folder: Path, error: BaseException, failures: int) -> None:
        from ray import cloudpickle

        self.num_failures, self.error_file, self.pickled_error_file = failures, folder / "text", folder / "pickle"
        self.error_file.write_text(f"Failure # 1 (occurred at noon)\n{error}\n")
        self.pickled_error_file.write_bytes(cloudpickle.dumps(error))


def test_the_class_of_a_death_is_not_read_from_its_text(tmp_path: Path) -> None:
    from ray.exceptions import RayActorError, RayTaskError

    card = InfrastructureError("pack 7: CUDA error\nand more")
    card.__cause__ = MemoryError("CUDA error")
    told = RayTaskError("step", "all of\nthe traceback", broken(card, "node-1", "host-1")).as_instanceof_cause()
    found = death(Told(tmp_path, told, failures=1))
    assert (found.error_class, found.failure_class) == ("MemoryError", INFRASTRUCTURE)
    assert (found.node, found.host, found.reason) == ("node-1", "host-1", "MemoryError: pack 7: CUDA error")
    assert "all of\nthe traceback" in found.log
    told = RayTaskError("step", "all of it", WorkerBroken("Stopped", "told", "", "", PREEMPTED)).as_instanceof_cause()
    assert death(Told(tmp_path, told, failures=1)).failure_class == PREEMPTED, "what it says itself"
    assert broken(KeyError("x"), "", "").error_class == "KeyError"
    rank = GangError(1, 2, "step 5", "RankDied", "its process ended: killed by SIGKILL", "its last words")
    told = RayTaskError("step", "the traceback", broken(rank, "node-1", "host-1")).as_instanceof_cause()
    found = death(Told(tmp_path, told, failures=1))
    assert found.reason == "RankDied: rank 1 of 2, at step 5: its process ended: killed by SIGKILL"
    assert (found.error_class, found.log) == ("RankDied", f"{told}\n\nits last words")
    other = RayTaskError("setup", "preempted: not so", ValueError("preempted")).as_instanceof_cause()
    assert (death(Told(tmp_path, other, 1)).error_class, death(Told(tmp_path, other, 1)).failure_class) == (
        "ValueError",
        INFRASTRUCTURE,
    )
    gone = RayActorError()
    assert death(Told(tmp_path, gone, failures=0)).failure_class == PREEMPTED
    assert death(Told(tmp_path, gone, failures=1)).failure_class == INFRASTRUCTURE


def test_an_interrupted_trial_of_a_run_that_goes_on_comes_back_for_nothing() -> None:
    """Somebody ended its worker: the run itself isn't stopping."""
    desk = Desk(todo(0), retries=0)
    for _ in range(3):
        desk.end(desk.take(), "interrupted", attempt_id=None)
        assert desk.dispatch.waiting
    desk.end(desk.take())
    assert (desk.given_up, desk.dispatch.counts.completed, desk.dispatch.counts.interrupted) == ([], 1, 0)
    desk = Desk(todo(0))
    pack, desk.dispatch.stopping = desk.take(), True
    desk.end(pack, "interrupted", attempt_id=None)
    assert (desk.dispatch.waiting, desk.dispatch.counts.interrupted) == (False, 1)


def test_a_run_that_is_being_stopped_asks_a_store_that_is_away_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("trials.store.retry.wait", waits.append)
    ledger = Ledger(Store(tmp_path / "gone"))
    with pytest.raises(InfrastructureError, match="no store"):
        ledger.state(todo(0))
    assert sum(waits) > 200
    waits.clear()
    ledger.patient = False
    with pytest.raises(InfrastructureError, match="no store"):
        ledger.state(todo(0))
    assert waits == []
