"""DeepSpeed's optimisers at stages 1 to 3, on two ranks, train all weights as one process does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from full_for_tests import Case, case_run, cases_run, half_taken, kept_weights, left_behind, read_too_soon, resumed
from ranks import on_ranks
from tiny_for_tests import FAMILIES

STAGES = (1, 2, 3)
BF16 = 0.02  # of losses: a product of other rows is rounded elsewhere, to three digits


def compared(cases: Sequence[Case], tolerance: float = 1e-5) -> None:
    """The runs of two ranks with that of one process."""
    (plain,) = {case.alone for case in cases}
    alone, (first, second) = case_run(plain), on_ranks(2, cases_run, cases)
    for case, ours, theirs in zip(cases, first, second, strict=True):
        assert ours["losses"] == pytest.approx(alone["losses"], rel=tolerance, nan_ok=True), case
        assert ours["norms"] == pytest.approx(alone["norms"], rel=10 * tolerance, nan_ok=True), case  # of long sums
        if tolerance < BF16:
            assert (ours["end"], ours["best"]) == (alone["end"], alone["best"]), case
        assert ours["count"] == alone["count"], case
        assert str(ours) == str(theirs), "on every rank, to the bit; NaN is no equal of itself"
        assert (ours["bits"], ours["skipped"]) == (True, 0), "the backbone is as it was, and no step was skipped"


@pytest.mark.parametrize("name", FAMILIES)
def test_two_ranks_have_the_numbers_of_one_process(name: str) -> None:
    """At the end, and at the best step, which isn't the last; with whole batches, and with one row a pass."""
    compared([Case(name, stage, rows=rows) for stage, rows in zip(STAGES, (4, 1, 1), strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("rows", [4, 1])
def test_moments_and_weights_in_the_machines_memory_change_no_number(name: str, rows: int) -> None:
    compared([Case(name, stage, offload=True, rows=rows) for stage in STAGES])


@pytest.mark.parametrize("name", ["tiny-bert", pytest.param("tiny-t5", marks=pytest.mark.slow)])
def test_float32_weights_that_bf16_copies_multiply_for(name: str) -> None:
    compared([Case(name, stage, bf16=True) for stage in STAGES], BF16)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_that_are_run_again_change_no_number(name: str) -> None:
    compared([Case(name, stage, rows=1, recompute=True) for stage in STAGES])


def test_a_trained_head_is_in_the_same_group() -> None:
    compared([Case("tiny-bert", stage, head=True, rows=1) for stage in STAGES])


def test_a_gradient_that_is_not_finite_on_one_rank_is_the_end_on_all() -> None:
    """Values stay finite, and those of the best step are there."""
    compared([Case("tiny-bert", stage, bad=(2, 1, math.nan)) for stage in STAGES])


@pytest.mark.slow
def test_gradients_whose_sum_alone_is_not_finite() -> None:
    """Each rank's own is finite: nothing but the sum says so, behind the hooks. And a gradient that is infinite."""
    some = [(stage, offload, bad) for stage in STAGES for offload in (False, True) for bad in (3e37, math.inf)]
    cases = [Case("tiny-bert", stage, offload, bad=(2, None, bad)) for stage, offload, bad in some]
    for found in on_ranks(2, cases_run, cases):
        for one in found:
            assert not math.isfinite(one["norms"][2])
            assert one["skipped"] == 0


@pytest.mark.slow
def test_a_step_that_was_given_up_leaves_nothing() -> None:
    """Not even that it diverged."""
    for found in on_ranks(
        2, half_taken, [Case("tiny-bert", stage, o, rows=1) for stage in STAGES for o in (False, True)]
    ):
        for undisturbed, disturbed in found:
            assert disturbed == undisturbed


@pytest.mark.slow
def test_values_and_state_go_on_in_another_engine_to_the_bit() -> None:
    for found in on_ranks(2, resumed, [Case("tiny-bert", stage, o) for stage in STAGES for o in (False, True)]):
        for whole, in_two in found:
            assert in_two == whole


def test_gradients_on_their_way_from_a_card_are_waited_for_before_they_are_read() -> None:
    assert on_ranks(1, read_too_soon, Case("tiny-bert", 2, offload=True)) == [["waited", "read"]]


def test_between_a_layers_two_ways_its_weights_are_let_go() -> None:
    """Autograd would keep them all, gathered, until backward: then each rank has the whole model after all."""
    blocks_and_head = 2 * 6 + 2  # linear layers
    assert on_ranks(2, kept_weights, Case("tiny-bert", 3)) == [(blocks_and_head, 0)] * 2


def test_a_model_comes_back_without_anything_of_theirs() -> None:
    """No hook, attribute, reference or thread."""
    for found in on_ranks(2, left_behind, [Case("tiny-bert", stage) for stage in STAGES]):
        assert found == [[]] * len(STAGES)
