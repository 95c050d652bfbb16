"""Bisection: it ends, repeats nothing, and finds what is there."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.refining.search import CONFIRM, FOUND, LOOK, NONE, Step, ahead, heard, step

counts_of = st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True).map(sorted)


def searched(counts: list[int], look: dict[int, bool], confirm: dict[int, bool]) -> tuple[Step, list[Step]]:
    """The end of a search, and its steps."""
    looked: dict[int, bool] = {}
    confirmed: dict[int, bool] = {}
    taken: list[Step] = []
    while not (now := step(counts, looked, confirmed)).is_last:
        taken.append(now)
        (looked if now.kind == LOOK else confirmed)[now.count] = (look if now.kind == LOOK else confirm)[now.count]
    return now, taken


@given(counts_of, st.data())
def test_whatever_is_said_it_ends_and_repeats_nothing(counts: list[int], data: st.DataObject) -> None:
    look, confirm = ({count: data.draw(st.booleans()) for count in counts} for _ in range(2))
    end, taken = searched(counts, look, confirm)
    assert all(one.count in counts for one in taken)
    assert len({(one.kind, one.count) for one in taken}) == len(taken) <= 2 * len(counts)
    if end.kind == FOUND:
        assert end.upper is not None
        assert confirm[end.upper]
        assert (CONFIRM, end.upper) in {(one.kind, one.count) for one in taken}
        assert ([0, *counts])[counts.index(end.upper)] == end.lower, "the count below was looked at"
    else:
        assert end.kind == NONE
        assert not (look[counts[-1]] and confirm[counts[-1]])


@given(st.integers(1, 64), st.data())
def test_what_rises_is_found_in_few_looks(number: int, data: st.DataObject) -> None:
    counts = [16 * 2**i for i in range(number)]
    first = data.draw(st.integers(0, number))
    above = {count: i >= first for i, count in enumerate(counts)}
    end, taken = searched(counts, above, above)
    assert end.upper == (counts[first] if first < number else None)
    assert sum(one.kind == LOOK for one in taken) <= 2 + math.ceil(math.log2(number))
    assert sum(one.kind == CONFIRM for one in taken) == (first < number)


def test_the_largest_count_comes_first_and_may_end_it() -> None:
    assert step([1, 2, 4], {}, {}) == Step(LOOK, 4)
    assert step([1, 2, 4], {4: False}, {}).kind == NONE
    assert step([], {}, {}).kind == NONE


def test_the_middle_is_one_of_log_count() -> None:
    assert step([10, 20, 990, 1000], {1000: True, 10: False}, {}).count == 20
    assert step([10, 20, 100, 900, 1000], {1000: True, 10: False}, {}).count == 100


def test_fresh_seeds_have_the_last_word_and_a_larger_count_that_is_not_above_counts_more() -> None:
    looked = {1: False, 2: True, 4: True, 8: True}
    assert step([1, 2, 4, 8], looked, {}) == Step(CONFIRM, 2, 1, 2)
    assert step([1, 2, 4, 8], looked, {2: False}) == Step(CONFIRM, 4, 2, 4)
    assert step([1, 2, 4, 8], looked, {2: True}) == Step(FOUND, 0, 1, 2)
    assert step([1, 2, 4, 8], {1: True, 2: False, 8: True}, {}) == Step(LOOK, 4, 2, 8)


@given(counts_of, st.data())
def test_fresh_seeds_are_heard_where_the_search_comes_to_them_alone(counts: list[int], data: st.DataObject) -> None:
    look, confirm = ({count: data.draw(st.booleans()) for count in counts} for _ in range(2))
    end, taken = searched(counts, look, confirm)
    looked = {one.count: look[one.count] for one in taken if one.kind == LOOK}
    asked = [one.count for one in taken if one.kind == CONFIRM]
    said = heard(counts, looked, confirm)
    assert step(counts, looked, said) == end
    assert said.keys() <= set(asked)


@given(counts_of, st.data())
def test_ahead_is_the_step_first_then_what_its_outcome_may_ask_for(counts: list[int], data: st.DataObject) -> None:
    begun: set[tuple[str, int]] = set()
    for _ in range(data.draw(st.integers(0, 6))):
        found = list(ahead(counts, {}, {}, lambda one: (one.kind, one.count) in begun))
        if not found:
            return
        chances = [chance for chance, _ in found]
        assert chances == sorted(chances, reverse=True)
        assert all((one.kind, one.count) not in begun for _, one in found)
        assert chances[0] == (1.0 if not begun else chances[0])
        if not begun:
            assert [one for _, one in found] == [step(counts, {}, {})]
        begun.add((found[0][1].kind, found[0][1].count))


def test_both_halves_of_a_bracket_are_as_likely() -> None:
    looked = {8: True}
    found = list(ahead([1, 2, 4, 8], looked, {}, lambda one: (one.kind, one.count) in {(LOOK, 2)}))
    assert [(chance, one.kind, one.count) for chance, one in found] == [(0.5, LOOK, 1), (0.5, LOOK, 4)]
