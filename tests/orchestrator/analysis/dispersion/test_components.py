"""Components of variance: by hand, without bias by simulation, and as statsmodels has them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import mixedlm, ols

from orchestrator.analysis.dispersion.components import Component, component, mean_of, rows_part, together

Array = np.ndarray


def test_by_hand_one_train_seed() -> None:
    """Means 1/2, 1/4, 3/4: a variance of 1/16. The differences over rows vary by 1/4, 1/4 and 1/3."""
    answers = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], float)[:, None]
    found = component([answers])
    rows = (1 / 4 + 1 / 4 + 1 / 3) / 3 / 2 / 4
    assert found.naive == pytest.approx(1 / 16)
    assert found.rows == pytest.approx(rows)
    assert found.variance == pytest.approx(1 / 16 - rows)
    assert (found.own, found.blocks) == (0, 0)
    assert (found.freedom, found.freedom_taken) == (2, np.inf)


def test_rows_are_disagreement_over_2n_but_for_the_square_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    answers = (rng.random((2, 1, 400)) < 0.7).astype(float)
    disagreement = float((answers[0] != answers[1]).mean())
    apart = float(answers[0].mean() - answers[1].mean())
    assert rows_part(answers).levels == pytest.approx((disagreement - apart**2) / (2 * 399))


def test_a_mean_over_tasks_has_the_sum_of_the_rows_parts_over_the_square_of_their_number() -> None:
    rng = np.random.default_rng(1)
    tasks = [(rng.random((4, 1, rows)) < 0.7).astype(float) for rows in (50, 80, 300)]
    found = component(tasks)
    assert found.rows == pytest.approx(sum(float(rows_part(task).levels) for task in tasks) / 9)
    assert found.naive == pytest.approx(np.mean([task.mean(-1) for task in tasks], axis=0)[:, 0].var(ddof=1))


def crossed(levels: int, blocks: int, rng: np.random.Generator) -> Array:
    luck = 0.05 * rng.standard_normal((levels, 1)) + 0.03 * rng.standard_normal((1, blocks))
    return 0.7 + luck + 0.02 * rng.standard_normal((levels, blocks))


def test_crossed_seeds_are_those_of_an_analysis_of_variance_and_of_reml() -> None:
    """Answers that are the same on every row have no luck of rows; balanced, REML is the analysis of variance."""
    scores = crossed(6, 4, np.random.default_rng(3))
    found = component([np.repeat(scores[..., None], 5, axis=-1)])
    frame = pd.DataFrame(
        [(p, t, 100 * scores[p, t]) for p in range(6) for t in range(4)], columns=["position", "train", "score"]
    )
    square = sm.stats.anova_lm(ols("score ~ C(position) + C(train)", frame).fit())["mean_sq"] / 1e4
    assert found.rows == pytest.approx(0, abs=1e-15)
    assert found.own == pytest.approx(square["Residual"])
    assert found.variance == pytest.approx((square["C(position)"] - square["Residual"]) / 4)
    assert found.blocks == pytest.approx((square["C(train)"] - square["Residual"]) / 6)
    assert found.freedom_taken == 15
    parts = {"position": "0 + C(position)", "train": "0 + C(train)"}
    fit = mixedlm("score ~ 1", frame, groups=np.ones(len(frame)), vc_formula=parts).fit(reml=True)
    reml = dict(zip(fit.model.exog_vc.names, fit.vcomp / 1e4, strict=True))
    assert reml["position"] == pytest.approx(float(found.variance), rel=1e-3)
    assert reml["train"] == pytest.approx(float(found.blocks), rel=1e-3)
    assert fit.scale / 1e4 == pytest.approx(float(found.own), rel=1e-3)


def answered(accuracy: Array, rows: int, rng: np.random.Generator, shared: float = 0.65) -> Array:
    """[..., levels, blocks, rows] by accuracies [..., levels, blocks]; many rows are right or wrong for all runs."""
    luck = rng.random((*accuracy.shape[:-2], 1, 1, rows))
    own = rng.random((*accuracy.shape, rows))
    number = np.where(rng.random(own.shape) < shared, luck, own)
    return (number < accuracy[..., None]).astype(float)


@pytest.mark.parametrize(("blocks", "sd"), [(1, 0.0), (1, 0.02), (2, 0.0), (2, 0.02)])
def test_no_bias_where_what_is_seen_is_far_too_large(blocks: int, sd: float) -> None:
    """5 position seeds on three tasks of 100, 200 and 300 rows; the places' luck is skewed."""
    rng, studies = np.random.default_rng(7), 1500
    place = sd * (rng.exponential(size=(studies, 5, 1)) - 1)
    own = 0.01 if blocks > 1 else 0.0
    accuracy = 0.7 + place + 0.02 * rng.standard_normal((studies, 1, blocks)) * (blocks > 1)
    accuracy = accuracy + own * rng.standard_normal((studies, 5, blocks))
    found = component([answered(accuracy, rows, rng) for rows in (100, 200, 300)])
    mean, error = found.variance.mean(), found.variance.std() / np.sqrt(studies)
    assert abs(mean - sd**2) < 3 * error
    assert found.naive.mean() - sd**2 > 10 * error
    if blocks > 1:
        assert found.own.mean() == pytest.approx(own**2, abs=4 * found.own.std() / np.sqrt(studies))
        assert found.blocks.mean() == pytest.approx(0.02**2, abs=4 * found.blocks.std() / np.sqrt(studies))


def test_a_lasting_luck_of_a_place_with_rows_is_the_rows() -> None:
    """A place that is right on rows of its own, whatever the train seed: no more right in the long run."""
    rng, studies = np.random.default_rng(8), 2000
    right = (rng.random((studies, 4, 1, 150)) < 0.7).astype(float)
    found = component([np.repeat(right, 3, axis=-2)])
    assert abs(found.variance.mean()) < 3 * found.variance.std() / np.sqrt(studies)
    assert found.own == pytest.approx(np.zeros(studies))
    assert found.rows.mean() == pytest.approx(0.21 / 150, rel=0.02)


def test_counts_bring_degrees_of_freedom_as_far_as_they_move_apart() -> None:
    rng = np.random.default_rng(2)
    luck = rng.standard_normal((3000, 1, 5))
    assert together(np.repeat(luck, 4, axis=1)) == pytest.approx(np.full(3000, 4.0))
    apart = together(rng.standard_normal((3000, 4, 5)))
    half = together(np.sqrt(0.7) * luck + np.sqrt(0.3) * rng.standard_normal((3000, 4, 5)))
    assert 4 < half.mean() < apart.mean() < 16
    one = Component(*map(np.array, (1.0, 0.5, 0.5, 0.0, 0.0, 4.0, np.inf)))
    both = mean_of([one, one], np.repeat(luck[0], 2, axis=0))
    assert (both.variance, both.freedom) == pytest.approx((0.5, 4.0))


def test_the_sum_of_squares_is_that_of_scipy() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random((5, 3))
    found = component([np.repeat(scores[..., None], 3, axis=-1)])
    assert found.naive == pytest.approx(stats.tvar(scores.mean(1)))
