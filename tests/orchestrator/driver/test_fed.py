"""A dispatch that is fed: it asks when a worker would wait, not before, and ends when nothing more can come. No ray."""

from __future__ import annotations

from collections.abc import Sequence

from desk import LONG, Desk, seeds
from fake_worker import todo

from orchestrator.driver.ray.deaths import explain
from orchestrator.planning.packing import Todo


class Script:
    """Gives what it was told to, a part each time that it is asked."""

    def __init__(self, *parts: Sequence[Todo]) -> None:
        self.parts, self.asked = list(parts), 0
        self.over: list[tuple[str, bool]] = []

    @property
    def possible(self) -> list[Todo]:
        return [todo(0)]

    def more(self) -> Sequence[Todo]:
        self.asked += 1
        return self.parts.pop(0) if self.parts else []

    def ended(self, trial_id: str, has_row: bool) -> None:
        self.over.append((trial_id, has_row))


def fed(desk: Desk, feed: Script, workers: int = 2) -> None:
    desk.dispatch.feed, desk.dispatch.workers = feed, workers
    desk.dispatch.__post_init__()


def test_it_is_asked_when_nothing_is_left_and_no_round_ends_first() -> None:
    desk, feed = Desk(todo(0)), Script([todo(1)], [todo(2), todo(3)])
    fed(desk, feed)
    first = desk.take()
    assert feed.asked == 0, "there was something in stock"
    second = desk.take()
    assert (feed.asked, seeds(second)) == (1, [("tiny-bert", 1, 0)])
    desk.end(first)
    assert seeds(desk.take()) == [("tiny-bert", 2, 0)], "the second still runs"
    assert feed.over == [(first.members[0].trial.trial_id, True)]


def test_not_more_is_asked_for_than_runs_at_a_time() -> None:
    desk, feed = Desk(), Script(*([todo(i)] for i in range(5)))
    fed(desk, feed, workers=2)
    desk.take(), desk.take()
    assert desk.dispatch.next() is None
    assert feed.asked == 2


def test_it_waits_for_what_runs_and_is_over_then() -> None:
    desk, feed = Desk(todo(0)), Script([], [todo(1)], [])
    fed(desk, feed)
    first = desk.take()
    assert desk.dispatch.next() is None
    assert desk.dispatch.waiting
    assert not desk.dispatch.over
    desk.end(first)
    second = desk.take()
    assert seeds(second) == [("tiny-bert", 1, 0)]
    desk.end(second)
    assert desk.dispatch.next() is None
    assert desk.dispatch.over
    assert not desk.dispatch.waiting


def test_a_trial_whose_worker_died_comes_back_before_it_is_over() -> None:
    desk, feed = Desk(todo(0)), Script()
    fed(desk, feed)
    desk.dispatch.lost(desk.take().pack_id, explain("gone"))
    assert desk.dispatch.next() is None
    assert not desk.dispatch.over, "it waits for its second attempt"
    desk.end(desk.take(LONG))
    assert desk.dispatch.next() is None
    assert desk.dispatch.over
    assert [has_row for _, has_row in feed.over] == [True]


def test_a_run_that_stops_asks_for_nothing() -> None:
    desk, feed = Desk(todo(0)), Script([todo(1)])
    fed(desk, feed)
    pack = desk.take()
    desk.dispatch.stopping = True
    desk.end(pack, "interrupted")
    assert desk.dispatch.next() is None
    assert (feed.asked, feed.over) == (0, [(pack.members[0].trial.trial_id, False)])


def test_its_setups_are_known_before_it_gives_anything() -> None:
    desk, feed = Desk(), Script()
    assert list(desk.dispatch.setups()) == []
    fed(desk, feed)
    assert len(list(desk.dispatch.setups())) == 1
