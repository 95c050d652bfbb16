"""Contrasts and their tests on cases worked by hand, and against scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orchestrator.analysis.contrast import (
    between,
    contrast,
    down,
    factors,
    interval,
    labelled,
    p_value,
    p_values,
    pooled,
    spread,
    unstacked,
)

ONE = (np.arange(3),)


def test_factors_are_what_was_drawn_independently() -> None:
    assert factors([(p, 0) for p in range(3)]) == (0,)
    assert factors([(None, t) for t in range(3)]) == (1,)
    assert factors([(p, t) for p in range(3) for t in range(2)]) == (0, 1)
    assert factors([(0, 0), (0, 1), (1, 2), (1, 3)]) == (0,)  # train seeds nested in positions
    assert factors([(0, 0), (1, 0), (2, 1), (3, 1)]) == (1,)  # positions nested in train seeds
    assert factors([(0, 0), (1, 1), (2, 2)]) == (0,)
    assert factors([(0, 0)]) == ()
    assert [f.tolist() for f in labelled([(5, 0), (5, 1), (7, 0)], (0, 1))] == [[0, 0, 1], [0, 1, 0]]


def test_one_seed_is_a_paired_t_test_over_rows() -> None:
    rng = np.random.default_rng(0)
    mine, theirs = (rng.random((1, 40)) < p for p in (0.7, 0.5))
    found = contrast(mine.astype(float), theirs.astype(float), ())
    expected = stats.ttest_rel(mine[0].astype(float), theirs[0].astype(float), alternative="greater")
    assert float(p_value(found)) == pytest.approx(expected.pvalue)


def test_without_luck_of_rows_it_is_a_t_test_over_seeds() -> None:
    seeds = np.array([0.51, 0.55, 0.58])
    found = contrast(np.repeat(seeds[:, None], 9, axis=1), np.full((1, 9), 0.5), ONE)
    assert float(p_value(found)) == pytest.approx(stats.ttest_1samp(seeds, 0.5, alternative="greater").pvalue)
    full = np.array([0.6, 0.61, 0.65])
    beside = between(*((np.repeat(values[:, None], 9, axis=1), ONE)[i] for values in (seeds, full) for i in (0, 1)))
    welch = stats.ttest_ind(seeds, full - 0.08, equal_var=False, alternative="greater")
    assert float(p_value(beside, 0.08)) == pytest.approx(welch.pvalue)


def test_the_variance_of_the_mean_by_hand() -> None:
    """Two seeds on two rows: means 1 and 0.5 around 0.75; the rows' means are 1 and 0.5."""
    found = contrast(np.array([[1.0, 1.0], [1.0, 0.0]]), np.zeros((1, 2)), (np.arange(2),))
    assert float(found.mean) == 0.75
    assert float(found.rows) == pytest.approx(0.25**2)  # variance 1/8 of two rows, over two
    (seeds,) = found.seeds
    assert float(seeds.total) == pytest.approx(0.25**2)
    # on row 0 the seeds agree, on row 1 they don't: their spread is the rows' luck, and nothing is left
    assert float(seeds.variance) == 0.0
    assert (seeds.levels, seeds.freedom) == (2, 1)


def test_crossed_seeds_are_clusters_both_ways() -> None:
    """The parts are the cluster-robust variances of statsmodels, each with its own levels' correction."""
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(1)
    pairs = [(p, t) for p in range(4) for t in range(3)]
    scores = rng.normal(0.6, 0.05, len(pairs))
    for labels in labelled(pairs, factors(pairs)):
        fit = sm.OLS(scores, np.ones(len(scores))).fit()
        robust = fit.get_robustcov_results("cluster", groups=labels, use_correction=False).cov_params()[0, 0]
        levels = labels.max() + 1
        found = spread(scores[:, None], labels)
        assert float(found.total) == pytest.approx(robust * levels / (levels - 1))
        assert found.freedom == levels - 1


def test_rows_luck_is_taken_out_of_the_seeds() -> None:
    """Seeds that differ in nothing but which rows they happen to get right have no spread of their own."""
    rng = np.random.default_rng(2)
    right = (rng.random((400, 4, 200)) < 0.6).astype(float)
    found = spread(right, np.arange(4))
    assert float(found.total.mean()) == pytest.approx(0.24 / 200 / 4, rel=0.1)
    some = found.variance > 0  # it is cut at 0 elsewhere
    assert 0.2 < some.mean() < 0.6
    assert (found.total - found.variance)[some] == pytest.approx(0.24 / 200 / 4, rel=0.3)


def test_the_pooled_variance_is_used_where_it_is_larger() -> None:
    calm, torn = (np.repeat(np.array(s)[:, None], 9, axis=1) for s in ([0.5, 0.51, 0.52], [0.3, 0.6, 0.9]))
    each = [contrast(scores, np.zeros((1, 9)), ONE) for scores in (calm, torn)]
    judged = pooled(each)
    assert float(judged[1].seeds[0].variance) == float(each[1].seeds[0].variance)
    assert float(judged[0].seeds[0].variance) == pytest.approx((0.0001 + 0.09) / 2 / 3)
    assert judged[0].seeds[0].freedom == 2  # the same seeds at both counts bring no more


def test_no_variance_is_exact_and_no_freedom_is_no_test() -> None:
    above = contrast(np.ones((3, 5)), np.zeros((1, 5)), ONE)
    assert float(p_value(above)) == 0.0
    assert float(p_value(above, -1.0)) == 1.0
    alone = contrast(np.ones((1, 5)), np.zeros((1, 5)), (np.zeros(1, int),))
    assert float(p_value(alone)) == 1.0


def test_the_sequence_ends_at_the_first_that_is_not_shown() -> None:
    assert down(np.array([0.01, 0.2, 0.01, 0.01]), 0.05) == 2
    assert down(np.array([0.01, 0.01]), 0.05) == 0
    assert down(np.array([0.01, 0.9]), 0.05) == 2


@pytest.mark.parametrize("pairs", [[(p, 0) for p in range(3)], [(p, t) for p in range(3) for t in range(2)]])
def test_counts_judged_at_once_have_the_numbers_of_each_alone(pairs: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(3)
    batch = (rng.random((8, len(pairs), 301)) < 0.6).astype(float)
    full = (rng.random((3, 301)) < 0.7).astype(float)
    by = labelled(pairs, factors(pairs))
    for at_once, each in (
        (unstacked(contrast(batch, full[:1], by)), [contrast(one, full[:1], by) for one in batch]),
        (unstacked(between(batch, by, full, ONE)), [between(one, by, full, ONE) for one in batch]),
    ):
        for mine, alone in zip(at_once, each, strict=True):
            assert (mine.mean, mine.rows) == (alone.mean, alone.rows)
            assert [(s.variance, s.total, s.freedom) for s in mine.seeds] == [
                (s.variance, s.total, s.freedom) for s in alone.seeds
            ]
        assert p_values(at_once, 0.02).tolist() == pytest.approx([float(p_value(c, 0.02)) for c in each], rel=1e-12)
        below = [1 - float(p_value(c, 0.02)) for c in each]
        assert p_values(at_once, 0.02, below=True).tolist() == pytest.approx(below)


def test_counts_of_which_some_lost_a_seed_have_their_own_freedom() -> None:
    scores = np.array([[0.4, 0.5, 0.9]]).T * np.ones((1, 9))
    each = [contrast(scores, np.zeros((1, 9)), ONE, lost=lost) for lost in (0, 1, 2)]
    found = p_values(each)
    assert found.tolist() == [float(p_value(c)) for c in each]
    assert found[0] < found[1] < found[2] == 1.0


def test_an_interval_is_that_of_a_t_test() -> None:
    seeds = np.array([0.51, 0.55, 0.58])
    found = contrast(np.repeat(seeds[:, None], 9, axis=1), np.full((1, 9), 0.5), ONE)
    ends = interval(found, 0.1)
    assert ends is not None
    expected = stats.ttest_1samp(seeds - 0.5, 0).confidence_interval(0.9)
    assert [float(end) for end in ends] == pytest.approx([expected.low, expected.high])
    assert interval(contrast(seeds[:1, None], np.zeros((1, 1)), ONE), 0.1) is None
