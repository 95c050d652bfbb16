"""Set-ups are tried in one order, the cheapest first; wishes leave out what they exclude."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.candidates import on_cards, on_cpu, reason, way
from trials.setup import Setup, beyond
from trials.sweep.resources import Resources

AUTO = Resources()
WHOLE, SHARDS, OFFLOADED = (0, False), (3, False), (3, True)


def gangs(setups: Iterable[Setup]) -> list[tuple[int, int, bool]]:
    """Ranks, stage, offload, in the order in which they come, each run of equal ones once."""
    return [how for how, _ in groupby((s.ranks, s.zero_stage, s.offload) for s in setups)]


def portions(setups: Iterable[Setup]) -> list[tuple[bool, int | None]]:
    return [(s.recompute, s.micro_batch) for s in setups]


def test_modules_are_whole_on_one_card_then_in_shards_on_the_fewest_then_offloaded() -> None:
    found = list(on_cards(AUTO, 8, 32, full=False))
    assert gangs(found) == [
        (1, *WHOLE),
        *((n, *SHARDS) for n in (2, 4, 8)),
        *((n, *OFFLOADED) for n in (1, 2, 4, 8)),
    ]
    assert all((s.device, s.gpus, s.threads) == ("cuda", s.ranks, None) for s in found)


def test_full_shares_gradients_before_weights_and_needs_no_gang_on_one_card() -> None:
    assert gangs(on_cards(AUTO, 4, 32, full=True)) == [
        (1, 0, False),
        *((n, stage, False) for n in (2, 4) for stage in (2, 3)),
        *((n, stage, True) for n in (1, 2, 4) for stage in (2, 3)),
    ]


def test_rows_are_halved_before_blocks_are_computed_again_but_not_where_passes_gather() -> None:
    one = list(on_cards(Resources(gpus=1, zero_stage=0), 8, 8, full=False))
    assert portions(one) == [(again, rows) for again in (False, True) for rows in (None, 4, 2, 1)]
    shards = list(on_cards(Resources(gpus=2, zero_stage=3, offload=False), 8, 8, full=False))
    assert portions(shards) == [(again, rows) for rows in (None, 2, 1) for again in (False, True)], "passes gather"
    three = list(on_cpu(Resources(ranks=3), 8, full=False))
    assert portions(three)[:2] == [(False, None), (False, 1)], "three rows of a rank at most"
    assert portions(on_cards(Resources(micro_batch=5, recompute=True), 1, 8, full=False))[:1] == [(True, 5)]


def test_cards_that_are_asked_for_hold_all_of_it_each_if_they_can() -> None:
    for wanted in (Resources(gpus=4), Resources(ranks=4)):
        assert gangs(on_cards(wanted, 8, 32, full=False)) == [(4, *WHOLE), (4, *SHARDS), (4, *OFFLOADED)]
        assert gangs(on_cards(wanted, 8, 32, full=True))[:2] == [(4, 2, False), (4, 3, False)]
    assert gangs(on_cards(Resources(gpus=1, offload=True), 8, 32, full=False)) == [(1, *OFFLOADED)]


@pytest.mark.parametrize("stage", [1, 2])
def test_modules_share_nothing_at_stages_1_and_2_so_they_run_as_0_and_it_is_said(stage: int) -> None:
    wanted = Resources(gpus=2, zero_stage=stage)
    found = list(on_cards(wanted, 8, 32, full=False))
    assert gangs(found) == [(2, *WHOLE)]
    assert f"stage {stage} shares nothing and runs as 0" in reason(found[0], wanted)
    assert gangs(on_cards(wanted, 8, 32, full=True)) == [(2, stage, False), *([(2, 2, True)] if stage == 2 else [])]
    offloaded = Resources(gpus=2, zero_stage=2, offload=True)
    assert gangs(on_cards(offloaded, 8, 32, full=False)) == [(2, *WHOLE)], "and there is nothing to offload"
    assert gangs(on_cpu(Resources(ranks=2, zero_stage=stage), 32, full=False)) == [(2, *WHOLE)]


def test_a_cpu_has_one_rank_unless_more_are_asked_for_and_one_thread_each() -> None:
    assert gangs(on_cpu(AUTO, 32, full=False)) == [(1, *WHOLE)]
    assert gangs(on_cpu(Resources(zero_stage=3), 32, full=False)) == [(1, *SHARDS)], "a process group of one"
    two = list(on_cpu(Resources(ranks=2), 32, full=False))
    assert gangs(two) == [(2, *WHOLE), (2, *SHARDS)]
    assert {(s.device, s.gpus, s.threads) for s in two} == {("cpu", 0, 1)}
    assert gangs(on_cpu(Resources(ranks=2), 32, full=True)) == [(2, 2, False), (2, 3, False)]


WISHES = st.builds(
    Resources,
    gpus=st.sampled_from(["auto", 0, 1, 2]),
    ranks=st.sampled_from(["auto", 1, 2]),
    zero_stage=st.sampled_from(["auto", 0, 1, 2, 3]),
    offload=st.sampled_from(["auto", True, False]),
    recompute=st.sampled_from(["auto", True, False]),
    micro_batch=st.sampled_from(["auto", 3]),
)


@given(wanted=WISHES, full=st.booleans(), most=st.sampled_from([1, 4, 8]), batch_size=st.sampled_from([2, 3, 32]))
def test_there_is_always_a_candidate_each_could_run_and_keeps_the_wishes(
    wanted: Resources, full: bool, most: int, batch_size: int
) -> None:
    if list(wanted.conflicts(batch_size)):
        return
    for setups in (on_cards(wanted, most, batch_size, full), on_cpu(wanted, batch_size, full)):
        found = list(setups)
        assert found
        assert len(set(found)) == len(found), "each is tried once"
        for setup in found:
            assert not beyond(setup, batch_size)
            assert wanted.ranks in ("auto", setup.ranks)
            assert wanted.recompute in ("auto", setup.recompute)
            assert wanted.gpus in ("auto", 0, setup.gpus) or setup.device == "cpu"
            assert wanted.offload in ("auto", setup.offload) or not setup.zero_stage or setup.device == "cpu"
            assert wanted.zero_stage in ("auto", setup.zero_stage) or (setup.zero_stage == 0 and not full)


def test_a_way_in_words() -> None:
    assert way(Setup("cuda", gpus=1, ranks=1)) == "1 GPU"
    many = Setup("cuda", gpus=4, ranks=4, zero_stage=3, offload=True, recompute=True, micro_batch=1)
    assert way(many) == "4 GPUs at ZeRO stage 3 with offload and recompute, 1 row at a time"
    assert way(Setup("cpu", ranks=2)) == "2 ranks"
