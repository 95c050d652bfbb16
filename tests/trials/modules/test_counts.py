"""Dealing against its scalar-by-scalar definition, and capacities from shapes."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials import backbones
from trials.errors import ApetError
from trials.modules import counts
from trials.modules.operations import default_sites
from trials.modules.sites import sites

OPERATIONS = ("add", "concat", "plug")
SHARES = st.dictionaries(st.sampled_from(OPERATIONS), st.integers(1, 12), min_size=1)
HUGE = dict.fromkeys(OPERATIONS, 10**12)


def one_by_one(shares: dict[str, int], capacities: dict[str, int]) -> list[dict[str, int]]:
    """The definition: what has been given after 0, 1, 2, … scalars, up to capacity."""
    given = {op: 0 for op in OPERATIONS if op in shares}
    states = [dict(given)]
    for _ in range(sum(capacities[op] for op in given)):
        free = [op for op in given if given[op] < capacities[op]]
        best = min(free, key=lambda op: (Fraction(2 * given[op] + 1, shares[op]), OPERATIONS.index(op)))
        given[best] += 1
        states.append(dict(given))
    return states


@settings(max_examples=150, deadline=None)
@given(SHARES, st.tuples(*[st.integers(1, 60)] * 3))
def test_deal_is_its_definition_at_every_count_spilling_included(
    shares: dict[str, int], held: tuple[int, int, int]
) -> None:
    capacities = dict(zip(OPERATIONS, held, strict=True))
    states = one_by_one(shares, capacities)
    dealt = [counts.deal(count, shares, capacities) for count in range(1, len(states))]
    assert dealt == states[1:]
    assert all(list(given) == list(states[0]) for given in dealt)
    for less, more in pairwise(dealt):
        assert all(more[op] >= less[op] for op in less)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(OPERATIONS), st.integers(1, 10**6), min_size=1),
    st.tuples(*[st.integers(1, 10**9)] * 3),
    st.data(),
)
def test_deal_of_large_counts_is_monotone_and_exact(
    shares: dict[str, int], held: tuple[int, int, int], data: st.DataObject
) -> None:
    capacities = dict(zip(OPERATIONS, held, strict=True))
    count = data.draw(st.integers(1, sum(capacities[op] for op in shares)))
    given = counts.deal(count, shares, capacities)
    assert sum(given.values()) == count
    assert all(0 <= given[op] <= capacities[op] for op in given)
    if count > 1:
        before = counts.deal(count - 1, shares, capacities)
        assert sorted(given[op] - before[op] for op in given) == [0] * (len(given) - 1) + [1]
        last = next(op for op in given if given[op] > before[op])
        free = [op for op in given if before[op] < capacities[op]]
        first = min(free, key=lambda op: (Fraction(2 * before[op] + 1, shares[op]), OPERATIONS.index(op)))
        assert last == first


@settings(max_examples=50, deadline=None)
@given(SHARES, st.integers(1, 10**10), st.integers(2, 9))
def test_only_the_ratio_of_shares_counts_and_no_count_strays_from_it(
    shares: dict[str, int], count: int, factor: int
) -> None:
    given = counts.deal(count, shares, HUGE)
    assert counts.deal(count, {op: factor * share for op, share in shares.items()}, HUGE) == given
    for op, share in shares.items():
        assert abs(given[op] - Fraction(count * share, sum(shares.values()))) < 1


def test_ties_go_to_add_then_concat_then_plug() -> None:
    equal = {"plug": 1, "concat": 1, "add": 1}
    assert counts.deal(1, equal, HUGE) == {"add": 1, "concat": 0, "plug": 0}
    assert counts.deal(2, equal, HUGE) == {"add": 1, "concat": 1, "plug": 0}
    assert counts.deal(5, equal, HUGE) == {"add": 2, "concat": 2, "plug": 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert-base", {"add": 73_728, "concat": 127_401_984, "plug": 28_329_984}),
        ("t5-xxl", {"add": 2_064_384, "concat": 18_119_393_280, "plug": 4_027_023_360}),
    ],
)
def test_capacity_with_default_sites(name: str, expected: dict[str, int]) -> None:
    assert counts.capacity(backbones.get(name), OPERATIONS) == expected


def test_capacity_with_chosen_sites() -> None:
    ref = backbones.get("t5-xxl")
    with_keys = {"add": [*default_sites("t5", "add"), "k", "cross_k"]}
    assert counts.capacity(ref, ["add"], with_keys) == {"add": 2_359_296}
    norms = sum(site.d_out for site in sites(ref) if site.kind == "norm")
    assert counts.capacity(ref, ["add"], {"add": ["norm"]}) == {"add": norms} == {"add": 122 * 4096}
    d = backbones.get("bert-base").shape.d_model
    at_q = counts.capacity(backbones.get("bert-base"), ["concat", "plug"], {"concat": ["q"], "plug": ["down"]})
    assert at_q == {"concat": 12 * d * 2 * d, "plug": 12 * d * (2 * d + 1)}


def test_above_capacity_names_the_capacity_of_each_operation() -> None:
    capacities = counts.capacity(backbones.get("tiny-bert"), OPERATIONS)
    with pytest.raises(ApetError, match=r"count 148481 .* tiny-bert: add 768 \+ concat 114688 \+ plug 33024 = 148480"):
        counts.check_count(148_481, capacities, "tiny-bert")
    counts.check_count(148_480, capacities, "tiny-bert")
    with pytest.raises(ApetError, match=r"above the capacity: add 768 scalars; .*over_capacity: skip"):
        counts.deal(769, {"add": 3}, capacities)


@pytest.mark.parametrize("count", [0, -3])
def test_count_below_one(count: int) -> None:
    with pytest.raises(ApetError, match=rf"count {count}: .*from 1 to the capacity, here 5"):
        counts.deal(count, {"add": 1}, {"add": 5})


@pytest.mark.parametrize("share", [0, -1, 1.5, "2", True])
def test_weights_are_positive_integers(share: object) -> None:
    with pytest.raises(ApetError, match=r"weight .* of plug: .* positive integers"):
        counts.reduced({"add": 1, "plug": share})  # type: ignore[dict-item]


def test_reduced() -> None:
    assert list(counts.reduced({"plug": 4, "add": 6}).items()) == [("add", 3), ("plug", 2)]
    with pytest.raises(ApetError, match="no operation; give at least one of add, concat, plug"):
        counts.reduced({})
    with pytest.raises(ApetError, match=r"'ad' is unknown; did you mean add\?"):
        counts.reduced({"ad": 1})


def test_sites_are_resolved_in_canonical_order() -> None:
    found = counts.resolve_sites("bert", ["plug", "add"], {"add": ["norm", "down", "q", "q"]})
    assert list(found.items()) == [("add", ("q", "down", "norm")), ("plug", ("o", "down"))]


@pytest.mark.parametrize(
    ("operations", "chosen", "message"),
    [
        (["add"], {"add": []}, r"sites of add: empty; choices on bert: q, k, v, o, up, down, norm"),
        (["add"], {"add": ["gate"]}, r"site 'gate': add can't stand there on bert; Choices: q, .*norm"),
        (["plug"], {"plug": ["up"]}, r"site 'up': plug can't stand there on bert; .*Choices: o, down"),
        (["concat"], {"concat": ["norm"]}, r"site 'norm': concat can't stand there"),
        (["add"], {"plug": ["o"]}, r"sites for plug, which has no weight"),
        (["add"], {"pulg": ["o"]}, r"operation 'pulg' is unknown; did you mean plug\?"),
        (["pulg"], None, r"operation 'pulg' is unknown"),
    ],
)
def test_wrong_sites(operations: list[str], chosen: dict[str, list[str]] | None, message: str) -> None:
    with pytest.raises(ApetError, match=message):
        counts.resolve_sites("bert", operations, chosen)


def test_placement() -> None:
    counts.check_placement("adjacent")
    with pytest.raises(ApetError, match=r"'discret' is unknown; did you mean discrete\?"):
        counts.check_placement("discret")
