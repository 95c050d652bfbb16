"""What waits for each type of node."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from fake_worker import todo
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.devices import Machine
from orchestrator.planning.packing import Busy, Stock, Todo
from orchestrator.planning.stocks import Stocks
from trials.setup import Setup
from trials.trial import Trial

SMALL = Setup("cuda", 1, node_type="small", pack_size=2)
LARGE = Setup("cuda", 4, 4, 3, node_type="large", pack_size=4)
OF = {"tiny-bert": SMALL, "tiny-t5": LARGE}
NODES = [Machine(8, 2**36, 4, 2**36, 2, node_type="large"), Machine(8, 2**36, 1, 2**34, 3, node_type="small")]


def elsewhere(trial: Trial, without: Set[str]) -> Setup | None:
    """What is for small nodes may go to large ones, not the other way."""
    return None if "large" in without else replace(LARGE, gpus=1, ranks=1, zero_stage=0)


def stocks(todos: list[Todo]) -> Stocks:
    return Stocks(todos, lambda trial: OF[trial.backbone.name], ["large", "small"], elsewhere)


def todos(small: int, large: int) -> list[Todo]:
    rates = [0.001 * (i + 1) for i in range(max(small, large))]
    return [
        *(todo(0, learning_rate=rate) for rate in rates[:small]),
        *(todo(0, "tiny-t5", learning_rate=rate) for rate in rates[:large]),
    ]


def test_the_largest_machines_first_and_none_waits_behind_another() -> None:
    stock = stocks(todos(4, 4))
    assert stock.types == {"small", "large"}
    first, second = stock.take({}), stock.take({}, fits=lambda setup: setup == SMALL)
    assert first is not None
    assert second is not None
    assert [first.setup, second.setup] == [LARGE, SMALL], "the large ones are full"


def test_workers_of_one_type_share_out_what_is_for_them() -> None:
    """Those of another don't count: nobody else is to end together with them."""
    stock = stocks(todos(3, 4))
    assert stock.share_out(NODES, 100) == 5
    assert stock.workers == {"large": 2, "small": 3}
    assert stock.share_out(NODES, 1) == 1
    stock.share_out(NODES, 100)
    busy = [Busy("other", 1e12, "large")] * 2
    planned = stock.take({}, busy, 9, lambda setup: setup.node_type == "small")
    assert planned is not None
    assert len(planned.members) == 1, "one for each of three"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 7), st.integers(0, 7), st.integers(0, 6), st.sampled_from(["small", "large"]))
def test_all_that_waits_for_a_type_that_is_left_goes_where_it_can(
    small: int, large: int, taken: int, left: str
) -> None:
    every = todos(small, large)
    stock = stocks(every)
    out = [planned for _ in range(taken) if (planned := stock.take({})) is not None]
    for n, planned in enumerate(out):
        (stock.refused, stock.put_back)[n % 2](planned)
    moved = stock.leave(left)
    found = []
    while (planned := stock.take({})) is not None:
        assert len(planned.members) <= planned.setup.pack_size
        found.append(planned)
    assert sorted(one.trial.trial_id for planned in found for one in planned.members) == sorted(
        one.trial.trial_id for one in every
    )
    assert moved == (small if left == "small" else 0)
    types = {planned.setup.node_type for planned in found}
    assert types <= ({"large"} if left == "small" else {"small", "large"})


def test_what_comes_back_of_a_type_that_was_left_goes_elsewhere_too() -> None:
    stock = stocks(todos(2, 0))
    planned = stock.take({})
    assert planned is not None
    assert planned.setup == SMALL
    assert stock.leave("small") == 0
    stock.put_back(planned)
    again = stock.take({})
    assert again is not None
    assert again.setup.node_type == "large"
    assert again.members == planned.members


def test_what_is_added_later_goes_where_it_runs_and_workers_stay_known() -> None:
    stock = stocks(todos(4, 4))
    assert stock.share_out(NODES, 100) == 5
    stock.empty()
    assert not stock
    assert stock.workers == {"large": 2, "small": 3}
    stock.leave("small")
    stock.add(todos(2, 1))
    assert {stock.setup_of(one).node_type for one in todos(2, 1)} == {"large"}
    found = []
    while (planned := stock.take({})) is not None:
        found += [(one.trial.backbone.name, planned.setup.node_type) for one in planned.members]
    assert sorted(found) == [("tiny-bert", "large"), ("tiny-bert", "large"), ("tiny-t5", "large")]


def test_a_size_that_was_learnt_holds_for_what_comes_from_another_type() -> None:
    stock = Stock(())
    stock.learnt(todo(0).warmth, LARGE, 3)
    stock.add(todos(7, 0), LARGE)
    sizes = []
    while (planned := stock.take()) is not None:
        sizes.append(len(planned.members))
    assert sizes == [3, 3, 1]
