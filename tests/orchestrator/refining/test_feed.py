"""What is run next, on made-up studies: it finds what is there, repeats nothing, ends, and keeps to its budget."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refined_world import COUNTS, ROWS, World, outcome, sweep
from study_rows import answers, row

from orchestrator.refining.budget import Budget
from orchestrator.refining.rules import FIRST_FRESH, LOOKS, THIRD
from orchestrator.refining.standing import OPEN, Standings
from trials.store.record import Record, record
from trials.sweep.sweep import Sweep
from trials.trial import Trial

SWEEP = sweep()
RATES = sweep(rates=(0.01, 0.1))


def said(found: Standings) -> dict[str, tuple[str, int | None, int | None]]:
    return {one.threshold: (one.state, one.lower, one.upper) for one in found.found}


def seeds_at(world: World, count: int) -> list[int | None]:
    return sorted(one.position_seed for one in world.order if one.method.count == count)


def test_both_thresholds_are_found_with_a_part_of_the_grid() -> None:
    world = World(SWEEP, outcome(low=64, high=512))
    found = world.run()
    assert said(found) == {"low": ("bracket", 32, 64), "high": ("bracket", 256, 512)}
    assert found.is_resolved
    assert len(world.order) < 0.9 * (3 * len(COUNTS) + 3), "8 counts alone are few"
    assert seeds_at(world, 64) == [*LOOKS, FIRST_FRESH, FIRST_FRESH + 1, FIRST_FRESH + 2]
    assert seeds_at(world, 2048) == [*LOOKS], "looked at, never claimed"
    low = found.found[0]
    assert low.rule is not None
    assert "confirmed by position seeds 3 to 5" in low.rule
    assert low.p is not None
    assert low.p < 0.05


def test_looking_seeds_alone_claim_nothing_and_fresh_ones_overrule_them() -> None:
    honest = outcome(low=256, high=4096)

    def lucky(of: Trial) -> Record:
        if of.method.count == 64 and of.position_seed in (*LOOKS, THIRD):
            return row(of, 0.7, **answers(of, 0.7, rows=ROWS))
        return honest(of)

    world = World(sweep([32, 64, 256]), lucky)
    assert said(world.run())["low"] == ("bracket", 64, 256)
    assert set(seeds_at(world, 64)) >= {3, 4, 5}


def test_full_fine_tuning_waits_until_something_can_be_equal_to_it() -> None:
    world = World(SWEEP, outcome(low=4096, high=4096))
    found = world.run()
    assert {one.state for one in found.found} == {"unresolved"}
    assert len(world.order) == 2, "the largest count says it all"
    assert all("isn't shown" in (one.reason or "") or "not shown" in (one.reason or "") for one in found.found)


def test_a_thin_reference_gets_more_runs_and_none_is_said() -> None:
    thin = World(sweep(full=1), outcome(low=64, high=512))
    assert said(thin.run())["high"] == ("bracket", 256, 512)
    assert sorted(one.train_seed for one in thin.order if one.method.name == "full") == [0, 1, 2]
    none = World(sweep(full=0), outcome(low=64, high=512)).run()
    assert said(none)["low"] == ("bracket", 32, 64)
    assert "no method full" in (none.found[1].reason or "")


def test_a_third_seed_where_the_first_two_differ() -> None:
    def torn(of: Trial) -> Record:
        score = {0: 0.58, 1: 0.74}.get(of.position_seed or 0, 0.66)
        return row(of, score, **answers(of, score, rows=ROWS))

    world = World(sweep([64], full=0), torn)
    world.run()
    assert THIRD in seeds_at(world, 64)
    calm = World(sweep([64], full=0), outcome(low=1, high=9999))
    calm.run()
    assert THIRD not in seeds_at(calm, 64)


def test_a_third_seed_where_one_of_two_has_no_score_and_a_count_without_any_is_passed_over() -> None:
    ran = outcome(low=64, high=512)

    def failing(of: Trial) -> Record:
        gone = {64: [0], 1024: [0, 1, 2], 2048: [1]}.get(of.method.count or 0, [])
        failed = record(of, state="failed", failure_class="bad_trial", error_class="X", error_message="")
        return failed if of.position_seed in gone else ran(of)

    world = World(SWEEP, failing)
    assert said(world.run()) == {"low": ("bracket", 32, 64), "high": ("bracket", 256, 512)}
    assert seeds_at(world, 2048) == [0, 1, 2]
    assert seeds_at(world, 64)[:3] == [0, 1, 2]
    assert seeds_at(world, 128)[:3] != [0, 1, 2]


def test_runs_that_all_fail_end_it_soon() -> None:
    def failing(of: Trial) -> Record:
        return record(of, state="failed", failure_class="bad_trial", error_class="X", error_message="")

    world = World(SWEEP, failing)
    found = world.run()
    assert {one.state for one in found.found} == {"unresolved"}
    assert "apet status" in (found.found[0].reason or "")
    assert len(world.order) < 15


def test_a_threshold_that_was_found_stays_found_when_other_counts_fail() -> None:
    """High's search meets them, above low's bracket."""
    ran = outcome(low=64, high=512)

    def failing(of: Trial) -> Record:
        failed = record(of, state="failed", failure_class="bad_trial", error_class="X", error_message="")
        return failed if 64 < (of.method.count or 0) < 2048 else ran(of)

    found = World(SWEEP, failing).run()
    assert said(found)["low"] == ("bracket", 32, 64)
    assert said(found)["high"][0] == "unresolved"
    assert "no or too few runs have a result" in (found.found[1].reason or "")


def test_fresh_seeds_take_the_rate_that_the_looks_chose() -> None:
    def better(of: Trial) -> Record:
        made = outcome(low=64, high=512)(of)
        return {**made, "validation_score": made["test_score"] - (of.learning_rate == 0.1)}

    world = World(RATES, better)
    assert said(world.run())["low"] == ("bracket", 32, 64)
    fresh = {one.learning_rate for one in world.order if (one.position_seed or 0) >= FIRST_FRESH}
    assert fresh == {0.01}


def test_it_goes_on_from_the_rows_alone() -> None:
    ran = outcome(low=64, high=512)
    whole = World(SWEEP, ran)
    expected = said(whole.run())
    rows: list[Record] = []
    total = 0
    for _ in range(50):
        part = World(SWEEP, ran, Budget(trials=3), rows)
        found = part.run()
        rows, total = part.rows, total + len(part.order)
        if not part.order:
            break
    assert said(found) == expected
    assert total == len(whole.order), "nothing twice, nothing in vain"


def test_a_whole_grid_needs_only_fresh_seeds() -> None:
    ran = outcome(low=64, high=512)
    grid = [ran(one) for one in SWEEP.trials()]
    world = World(SWEEP, ran, rows=grid)
    assert said(world.run()) == {"low": ("bracket", 32, 64), "high": ("bracket", 256, 512)}
    assert {(one.method.count, one.position_seed) for one in world.order} == {
        (count, seed) for count in (64, 512) for seed in (3, 4, 5)
    }


def test_fresh_seeds_of_counts_that_the_search_did_not_come_to_say_nothing() -> None:
    ran = outcome(low=64, high=512)

    def unlucky(of: Trial) -> Record:
        if of.method.count == 256 and (of.position_seed or 0) >= FIRST_FRESH:
            return row(of, 0.5, **answers(of, 0.5, rows=ROWS))
        return ran(of)

    every = [unlucky(one) for one in sweep(position_seeds=[*range(9)], full=0).trials()]
    world = World(sweep(full=0), unlucky, rows=every)
    assert said(world.run())["low"] == ("bracket", 32, 64)
    assert not world.order


def test_hours_end_what_is_begun() -> None:
    world = World(SWEEP, outcome(low=64, high=512), Budget(hours=5.5 / 3600))
    found = world.run()
    assert world.now >= 6
    assert len(world.order) <= 10
    assert any(one.state == OPEN for one in found.found)
    assert not found.is_resolved


def test_rows_without_answers_block_it_at_once() -> None:
    def bare(of: Trial) -> Record:
        return {**outcome(64, 512)(of), "right": None}

    world = World(SWEEP, bare)
    found = world.run()
    assert len(world.order) == 2
    assert "no answers" in (found.found[0].reason or "")


def outcomes(seed: int) -> Callable[[Trial], Record | None]:
    """Rows as fate has it: scores of any height, failures, divergence, no row at all."""

    def ran(of: Trial) -> Record | None:
        draw = random.Random(f"{seed} {of.trial_id}")
        fate, score = draw.random(), draw.uniform(0.3, 0.9)
        if fate < 0.1:
            return None
        if fate < 0.2:
            return record(of, state="failed", failure_class="bad_trial", error_class="X", error_message="")
        if fate < 0.3:
            bare = answers(of, None, rows=ROWS) | {"test_score": None}
            return row(of, None, **bare, state="diverged", validation_score=None)
        return row(of, score, **answers(of, score, rows=ROWS))

    return ran


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    of=st.sampled_from([SWEEP, RATES, sweep([64]), sweep(full=0), sweep(full=1, position_seeds=[7, 9])]),
    seed=st.integers(0, 10**6),
    workers=st.integers(1, 6),
    most=st.none() | st.integers(1, 30),
)
def test_whatever_happens_it_ends_within_its_budget(of: Sweep, seed: int, workers: int, most: int | None) -> None:
    world = World(of, outcomes(seed), Budget(trials=most))
    found = world.run(workers, random.Random(seed))
    ids = [one.trial_id for one in world.order]
    assert len(set(ids)) == len(ids), "a trial was given twice"
    assert most is None or len(ids) <= most
    allowed = {one.method.count for one in of.trials()}
    assert {one.method.count for one in world.order} <= allowed
    assert set(ids) == world.feed.given
    if most is None:
        assert found.is_resolved, found.render()
    again = World(of, outcomes(seed), rows=world.rows, budget=Budget(trials=most))
    again.run()
    assert not {one.trial_id for one in again.order} & {r["trial_id"] for r in world.rows}, "the store had it"


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_get_what_outcomes_may_ask_for_and_the_claims_are_the_same(workers: int) -> None:
    alone = World(SWEEP, outcome(low=64, high=512))
    expected = said(alone.run())
    several = World(SWEEP, outcome(low=64, high=512))
    assert said(several.run(workers, random.Random(1))) == expected
    assert len(alone.order) < len(several.order) <= 3 * len(COUNTS) + 3 + 2 * 3
