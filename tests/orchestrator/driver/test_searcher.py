"""The driver's bookkeeping: which pack is next, what comes back, what is given up. No ray here."""

from __future__ import annotations

from pathlib import Path

from fake_worker import todo

from orchestrator.driver.dispatch import Dispatch
from orchestrator.driver.ray.deaths import explain
from orchestrator.planning.packing import Todo, packs
from trials.pack import Pack
from trials.setup import Setup
from workers.pack.progress import Ended, Progress


class Desk:
    """A dispatch, and the store as it sees it."""

    def __init__(self, *todos: Todo, retries: int = 2, pack_size: int = 1) -> None:
        self.rows: dict[tuple[str, int], str] = {}
        self.given_up: list[tuple[str, int, str]] = []
        self.dispatch = Dispatch(
            packs(todos, Setup(pack_size=pack_size)),
            "run",
            retries,
            row_state=lambda one: self.rows.get((one.trial.trial_id, one.attempt)),
            stored=lambda attempt_id: attempt_id != "nowhere",
            give_up=lambda one, why: self.given_up.append((one.trial.trial_id, one.attempt, why.reason)),
        )

    def take(self) -> Pack:
        pack = self.dispatch.next()
        assert pack is not None
        return pack

    def end(self, pack: Pack, state: str = "completed", attempt_id: str | None = "somewhere") -> None:
        ended = tuple(Ended(m.trial.trial_id, state, attempt_id=attempt_id) for m in pack.members)
        self.dispatch.report(Progress(pack.pack_id, 1, 1, {}, ended))
        self.dispatch.finished(pack.pack_id)


def seeds(pack: Pack) -> list[tuple[str, int, int]]:
    return [(m.trial.backbone.name, m.trial.train_seed, m.attempt) for m in pack.members]


def test_each_trial_is_handed_out_once() -> None:
    desk = Desk(*(todo(i) for i in range(5)))
    found = []
    while desk.dispatch.waiting:
        pack = desk.take()
        found += seeds(pack)
        desk.end(pack)
    assert sorted(found) == [("tiny-bert", i, 0) for i in range(5)]
    assert desk.dispatch.next() is None
    assert (desk.dispatch.counts.completed, desk.dispatch.running) == (5, {})


def test_a_lost_worker_costs_an_attempt_and_the_trial_comes_back_behind_its_backbone() -> None:
    desk = Desk(todo(0), todo(1), todo(0, "tiny-t5"))
    first = desk.take()
    assert seeds(first) == [("tiny-t5", 0, 0)]
    desk.dispatch.lost(first.pack_id, explain("gone"))
    found = [seeds(desk.take()) for _ in range(3)]
    assert found == [[("tiny-bert", 0, 0)], [("tiny-bert", 1, 0)], [("tiny-t5", 0, 1)]]
    assert not desk.given_up


def test_after_its_retries_a_trial_is_given_up_with_a_failed_row() -> None:
    desk = Desk(todo(0), retries=2)
    for attempt in range(3):
        assert desk.dispatch.waiting
        pack = desk.take()
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
        desk.dispatch.lost(desk.take().pack_id, explain("the machine went away"), preempted=True)
    pack = desk.take()
    assert seeds(pack) == [("tiny-bert", 0, 0)]
    desk.end(pack)
    assert (desk.given_up, desk.dispatch.counts.completed) == ([], 1)


def test_a_worker_that_died_after_its_row_lost_nothing() -> None:
    desk = Desk(todo(0))
    desk.rows[todo(0).trial.trial_id, 0] = "diverged"
    desk.dispatch.lost(desk.take().pack_id, explain("gone"))
    assert not desk.dispatch.waiting
    assert desk.dispatch.counts.diverged == 1


def test_failed_and_diverged_trials_are_not_repeated() -> None:
    desk = Desk(todo(0), todo(1))
    for state in ("failed", "diverged"):
        desk.end(desk.take(), state)
    assert not desk.dispatch.waiting
    assert (desk.dispatch.counts.failed, desk.dispatch.counts.diverged, desk.dispatch.counts.done) == (1, 1, 2)


def test_only_the_open_trials_of_a_lost_pack_come_back_and_alone() -> None:
    desk = Desk(*(todo(0, learning_rate=rate) for rate in (0.1, 0.2, 0.3)), pack_size=3)
    pack = desk.take()
    done = pack.members[1].trial.trial_id
    desk.dispatch.report(Progress(pack.pack_id, 1, 2, {}, (Ended(done, "completed", attempt_id="there"),)))
    desk.dispatch.lost(pack.pack_id, explain("gone"))
    again = [desk.take(), desk.take()]
    assert [len(p.members) for p in again] == [1, 1], "the one that kills workers shall kill no neighbour"
    assert {p.members[0].trial.trial_id for p in again} == {m.trial.trial_id for m in pack.members} - {done}
    assert desk.dispatch.counts.completed == 1


def test_a_row_that_the_driver_does_not_see_counts_as_lost() -> None:
    desk = Desk(todo(0), retries=1)
    for _ in range(2):
        desk.end(desk.take(), attempt_id="nowhere")
    assert desk.dispatch.counts.completed == 0
    assert "same store" in desk.given_up[0][2]


def test_a_pack_that_ends_without_a_word_is_looked_up() -> None:
    desk = Desk(todo(0), todo(1), retries=0)
    desk.rows[todo(0).trial.trial_id, 0] = "completed"
    for _ in range(2):
        desk.dispatch.finished(desk.take().pack_id)
    assert (desk.dispatch.counts.completed, desk.dispatch.counts.failed) == (1, 1)


def test_stopping_hands_out_nothing_and_brings_nothing_back() -> None:
    desk = Desk(todo(0), todo(1), todo(2), todo(3))
    first, second, third = desk.take(), desk.take(), desk.take()
    desk.dispatch.stopping = True
    assert desk.dispatch.next() is None
    desk.end(first, "interrupted")
    desk.dispatch.lost(second.pack_id, explain("gone"))
    desk.dispatch.finished(third.pack_id)
    assert not desk.dispatch.waiting
    assert (desk.dispatch.counts.interrupted, desk.dispatch.counts.done, desk.given_up) == (3, 0, [])


def test_late_news_of_a_pack_that_is_gone_changes_nothing() -> None:
    desk = Desk(todo(0), retries=0)
    pack = desk.take()
    desk.dispatch.lost(pack.pack_id, explain("gone"))
    desk.end(pack)
    assert (desk.dispatch.counts.failed, desk.dispatch.counts.completed) == (1, 0)


def test_memory_is_of_what_is_still_to_be_done() -> None:
    desk = Desk(*(todo(i) for i in range(50)))
    while desk.dispatch.waiting:
        desk.end(desk.take())
    held = [value for value in vars(desk.dispatch).values() if isinstance(value, dict | list | tuple)]
    assert all(len(value) == 0 for value in held)


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
    raised = explain('  File "x.py", line 3\nworkers.store.DiskFull: no space left')
    assert (raised.error_class, raised.reason) == ("DiskFull", "workers.store.DiskFull: no space left")
    assert explain("something else").error_class == "WorkerDied"
