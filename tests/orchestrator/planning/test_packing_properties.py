"""Packing on random work: complete, deterministic, never too large, and near the least time that it can take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fake_worker import todo
from floor import Floor
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.planning.line import how_many
from orchestrator.planning.packing import Busy, Stock, Todo, cost, share
from trials.setup import Setup
from trials.trial import Method

NAMES = ("tiny-bert", "tiny-t5", "tiny-bloom", "quickstart-l3")  # the last costs some hundred times as much
SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Work:
    """Trials by (backbone, seed, steps, soft tokens or None, how many): those of one seed and steps share packs."""

    kinds: tuple[tuple[str, int, int, int | None, int], ...]
    size: int

    def todos(self) -> list[Todo]:
        return [
            todo(
                seed,
                name,
                steps=steps,
                learning_rate=0.001 * (i + 1),
                method=Method("prompt", tokens=tokens) if tokens else Method("bitfit"),
            )
            for name, seed, steps, tokens, n in dict.fromkeys(self.kinds)
            for i in range(n)
        ]

    def stock(self) -> Stock:
        return Stock(self.todos(), Setup(pack_size=self.size))


def works(most: int = 40, tokens: tuple[int | None, ...] = (None, 5, 9)) -> st.SearchStrategy[Work]:
    kind = st.tuples(
        st.sampled_from(NAMES), st.integers(0, 2), st.integers(1, 20), st.sampled_from(tokens), st.integers(1, most)
    )
    kinds = st.lists(kind, min_size=1, max_size=8, unique_by=lambda k: k[:4])
    return st.builds(lambda found, size: Work(tuple(found), size), kinds, st.sampled_from(SIZES))


floors = st.builds(Floor, st.integers(1, 8), st.sampled_from([0.0, 0.1, 0.3, 0.75]))


@settings(max_examples=60, deadline=None)
@given(works(), floors)
def test_every_trial_is_handed_out_once_in_packs_that_may_be(work: Work, floor: Floor) -> None:
    todos = work.todos()
    found = floor.run(work.stock()).packs
    handed_out = Counter(one.trial.trial_id for planned in found for one in planned.members)
    assert handed_out == Counter(one.trial.trial_id for one in todos)
    for planned in found:
        assert len(planned.members) <= work.size
        assert len({one.trial.pack_key for one in planned.members}) == 1
        assert len({one.trial.method.tokens for one in planned.members}) == 1


@settings(max_examples=30, deadline=None)
@given(works(), st.integers(1, 8))
def test_the_same_questions_get_the_same_packs(work: Work, workers: int) -> None:
    first, second = Floor(workers).run(work.stock()), Floor(workers).run(work.stock())
    assert first.packs == second.packs


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])  # small work is no case
@given(works(120), floors, st.sampled_from([0.0, 0.5, 2.0, 8.0]))
def test_the_makespan_is_at_most_a_tenth_above_its_bound(work: Work, floor: Floor, load: float) -> None:
    """Where a full pack and a load are an eighth of the whole at most; ``load`` is in trials of average cost."""
    todos = work.todos()
    costs = [cost(one.trial) for one in todos]
    floor.load = load * sum(costs) / len(costs)
    bound = floor.bound(todos, work.size)
    assume(floor.seconds(max(costs) * work.size, work.size) + floor.load <= bound / 8)
    floor.run(work.stock())
    assert floor.end <= 1.1 * bound
    backbones = {one.warmth for one in todos}
    assert floor.loads <= len(backbones) + 2 * floor.workers


@settings(max_examples=60, deadline=None)
@given(works(), floors)
def test_short_work_ends_a_trial_later_at_most(work: Work, floor: Floor) -> None:
    """However few trials there are; without the gain of packs, some of which is given up to keep workers busy."""
    floor.gain = 0.0
    todos = work.todos()
    floor.run(work.stock())
    assert floor.end <= 1.1 * floor.bound(todos, work.size) + max(cost(one.trial) for one in todos)


@settings(max_examples=60, deadline=None)
@given(works(tokens=(None,)), st.integers(2, 8))
def test_nobody_waits_while_there_are_trials(work: Work, workers: int) -> None:
    """The first packs of all workers: packs are divided where there are fewer than workers."""
    stock, busy = work.stock(), list[Busy]()
    for _ in range(min(workers, len(work.todos()))):
        planned = stock.take(None, busy, workers)
        assert planned is not None
        busy.append(Busy(planned.warmth, planned.weight))


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 100), st.lists(st.floats(0, 100), max_size=7), st.integers(0, 4))
def test_a_share_lets_all_end_together(left: float, busy: list[float], idle: int) -> None:
    workers = len(busy) + idle
    level = share(left, busy, workers)
    given_out = level * max(idle, 1) + sum(max(0.0, level - one) for one in busy)
    assert abs(given_out - left) <= 1e-6 * (1 + left + sum(busy))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100), st.floats(0, 100), st.sampled_from(SIZES), st.integers(1, 8))
def test_a_pack_is_no_larger_than_its_share_but_where_somebody_must_take_more(
    trials: int, amount: float, size: int, workers: int
) -> None:
    n = how_many(trials, amount, size, workers)
    assert 1 <= n <= size
    assert n <= max(1.1 * amount, -(-trials // workers), 1)
    assert n == size or n + 1 > amount
