"""The driver's bookkeeping: which pack is next, and what is done. No ray here."""

from __future__ import annotations

from desk import LONG, Desk, seeds
from fake_worker import todo

from orchestrator.driver.ray.deaths import explain


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
    desk = Desk(todo(0), *(todo(i, "tiny-t5") for i in range(3)))
    first = desk.take()
    assert seeds(first) == [("tiny-t5", 0, 0)]
    desk.dispatch.lost(first.pack_id, explain("gone"))
    found = [seeds(desk.take(later)) for later in (0, LONG, 0, 0)]
    assert sorted(found[:2]) == [[("tiny-bert", 0, 0)], [("tiny-t5", 1, 0)]], "a backbone for each worker"
    assert found[2:] == [[("tiny-t5", 2, 0)], [("tiny-t5", 0, 1)]]
    assert not desk.given_up


def test_a_pack_that_does_not_fit_now_is_not_overtaken() -> None:
    desk = Desk(todo(0), todo(1, "tiny-t5"))
    assert desk.dispatch.next(lambda setup: False) is None
    assert seeds(desk.take()) == [("tiny-t5", 1, 0)]


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
