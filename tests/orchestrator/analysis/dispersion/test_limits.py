"""Limits of components and ratios: exact where there is an exact one, and consistent with each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from orchestrator.analysis.dispersion.components import Component
from orchestrator.analysis.dispersion.limits import limits, of_variance, p_smaller, ratio

ALPHA = 0.05


def made(
    naive: float, taken: float, freedom: float = 4, freedom_taken: float = np.inf, fixed: bool = False
) -> Component:
    numbers = (naive, taken, taken, 0.0, 0.0, freedom, freedom_taken)
    return Component(*(np.asarray(float(n)) for n in numbers), fixed=fixed)


def test_with_known_luck_they_are_those_of_chi_square_less_the_luck() -> None:
    found = limits(made(4, 1), ALPHA)
    ends = [4 * 4 / stats.chi2.ppf(q, 4) - 1 for q in (0.975, 0.025)]
    assert (found.lower, found.upper) == pytest.approx(ends, rel=1e-4)
    seen = of_variance(4, 4, ALPHA)
    assert (seen.lower - 1, seen.upper - 1) == pytest.approx(ends, rel=1e-4)


def test_with_estimated_luck_they_are_wider_below_and_hold_what_is_nominal() -> None:
    """5 places × 3 train seeds: mean squares with 4 and 8 degrees of freedom."""
    assert limits(made(4, 1, 4, 8), ALPHA).lower < limits(made(4, 1), ALPHA).lower
    rng, studies = np.random.default_rng(0), 20_000
    for place, luck in ((0.0, 1.0), (1.0, 1.0), (4.0, 1.0)):
        naive = (place + luck) * rng.chisquare(4, studies) / 4
        taken = luck * rng.chisquare(8, studies) / 8
        none = np.zeros(studies)
        four, eight = np.full(studies, 4.0), np.full(studies, 8.0)
        found = limits(Component(naive, taken, none, none, none, four, eight), ALPHA)
        held = (found.lower <= place) & (place <= np.maximum(found.upper, 0))
        assert 0.94 < held.mean() < 0.98, place


@pytest.mark.parametrize("naive", [3.0, 9.0, 60.0])
def test_over_fixed_levels_they_are_nearly_those_of_a_non_central_chi_square(naive: float) -> None:
    """Four methods: 3 degrees of freedom, luck 1."""

    def at(q: float) -> float:
        below = stats.ncx2.cdf(3 * naive, 3, 1e-9)
        return 0.0 if below < q else brentq(lambda v: stats.ncx2.cdf(3 * naive, 3, 3 * v) - q, 1e-9, 500)

    found = limits(made(naive, 1, 3, fixed=True), ALPHA)
    assert max(found.lower, 0) == pytest.approx(at(0.975), rel=0.05, abs=0.05)
    assert found.upper == pytest.approx(at(0.025), rel=0.08)
    drawn = limits(made(naive, 1, 3), ALPHA)
    assert found.upper < drawn.upper


def test_without_luck_a_ratio_has_the_limits_of_f() -> None:
    found = ratio(made(3, 0, 4), made(9, 0, 8), ALPHA)
    ends = [3 / 9 / stats.f.ppf(q, 4, 8) for q in (0.975, 0.025)]
    assert (found.lower, found.upper) == pytest.approx(ends, rel=1e-6)
    assert p_smaller(made(3, 0, 4), made(9, 0, 8)) == pytest.approx(stats.f.cdf(3 / 9, 4, 8), rel=1e-3)


def test_luck_widens_a_ratio() -> None:
    bare, lucky = ratio(made(2, 0, 8), made(8, 0, 8), ALPHA), ratio(made(3, 1, 8), made(9, 1, 8), ALPHA)
    assert 0 <= lucky.lower < bare.lower < 2 / 8 < bare.upper < lucky.upper


def test_what_is_not_shown_leaves_a_ratio_open() -> None:
    assert ratio(made(3, 1), made(1.1, 1), ALPHA).upper == np.inf
    assert ratio(made(1.1, 1), made(30, 1, 8), ALPHA).lower == 0
    neither = ratio(made(0.5, 1), made(0.6, 1), ALPHA)
    assert (neither.lower, neither.upper) == (0, np.inf)
    none = ratio(made(0, 0), made(0, 0), ALPHA)
    assert (none.lower, none.upper) == (0, np.inf)
    assert p_smaller(made(0, 0), made(0, 0)) == 1


def test_p_is_the_level_at_which_the_interval_leaves_out_one() -> None:
    small, large = made(20, 1, 12), made(3, 1, 12)
    p = float(p_smaller(large, small))
    assert 0 < p < 0.05
    assert ratio(large, small, 2 * p * 1.01).upper < 1 < ratio(large, small, 2 * p * 0.99).upper
    assert p_smaller(small, large) == 1


@pytest.mark.parametrize("freedom", [1, 2, 5])
@pytest.mark.parametrize("fixed", [False, True])
def test_p_says_what_the_interval_says_with_two_levels_too(freedom: int, fixed: bool) -> None:
    for seen in (0.001, 0.01, 0.1, 0.3, 0.6, 0.9, 2.0):
        larger, smaller = made(seen, 1e-4, freedom, fixed=fixed), made(1.0, 4e-4, freedom, fixed=fixed)
        below = float(ratio(larger, smaller, ALPHA).upper) < 1
        assert (float(p_smaller(larger, smaller)) < ALPHA / 2) == below, seen


def test_the_nominal_level_holds_where_rows_matter_more_on_one_scale() -> None:
    rng, studies = np.random.default_rng(1), 1_500
    none, freedom = np.zeros(studies), np.full(studies, 8.0)
    for place in (0.0, 1.0, 5.0):
        found = [
            Component(
                (place + luck) * rng.chisquare(8, studies) / 8,
                none + luck,
                none + luck,
                none,
                none,
                freedom,
                none + np.inf,
            )
            for luck in (0.4, 1.6)
        ]
        assert (p_smaller(*found) < 0.05).mean() < 0.065, place
