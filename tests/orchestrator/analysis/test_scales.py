"""Thresholds over tasks and across scales: ranges, limits from both sides, and honesty where nothing can be told."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import isotonic_regression
from study_rows import curve, full, selected

from orchestrator.analysis.crossing import Crossing, isotonic_fit
from orchestrator.analysis.scales import interval, ranges, trends
from orchestrator.analysis.thresholds import thresholds

COUNTS = tuple(4**i for i in range(2, 9))
SURE, NO = 1e-6, 0.9


def crossing(at: int, backbone: str, parameters: int, task: str = "rte", side: str = "high") -> Crossing:
    """Sharp: every count below ``at`` is short of the mark, it and all above are past it."""
    past = tuple(SURE if n >= at else NO for n in COUNTS)
    short = tuple(NO if n >= at else SURE for n in COUNTS)
    return Crossing(side, "bert", backbone, parameters, task, "discrete", COUNTS, past, short, at / 2)


def test_limits_are_the_largest_count_short_and_the_smallest_past() -> None:
    one = crossing(256, "small", 1)
    assert one.limits(0.01) == (64, 256)
    assert one.limits(1e-9) == (0, math.inf)
    unsure = replace(one, past=tuple(max(p, 0.02) for p in one.past))
    assert unsure.limits(0.01) == (64, math.inf)
    assert unsure.limits(0.05) == (64, 256)


def test_a_threshold_that_falls_is_said_to_fall_with_its_interval_and_p() -> None:
    small, large = crossing(4096, "small", 1), crossing(256, "large", 2)
    (found,) = trends([large, small], 0.05)
    assert (found.smaller, found.larger, found.verdict) == ("small", "large", "falls")
    assert (found.lower, found.upper) == pytest.approx((64 / 4096, 256 / 1024))
    assert found.ratio == pytest.approx(256 / 4096)
    assert found.p == pytest.approx(2 * SURE, rel=0.01)  # one-sided: two limits share it
    (low,) = trends([replace(large, side="low"), replace(small, side="low")], 0.05)
    assert (low.verdict, low.p) == ("falls", 1.0)  # asked was whether it rises


def test_tasks_share_alpha_and_are_averaged() -> None:
    both = [(crossing(4096, "s", 1, task), crossing(at, "l", 2, task)) for task, at in (("rte", 256), ("mrpc", 1024))]
    lower, upper = interval(both, 0.05)
    assert lower == pytest.approx(math.sqrt((64 / 4096) * (256 / 4096)))
    assert upper == pytest.approx(math.sqrt((256 / 1024) * (1024 / 1024)))
    (found,) = trends([c for pair in both for c in pair], 0.05)
    assert found.tasks == ("mrpc", "rte")
    assert found.verdict == "falls"


def test_where_nothing_bounds_it_it_cannot_be_told() -> None:
    small = crossing(4096, "small", 1)
    (open_,) = trends([small, replace(small, backbone="large", parameters=2, past=(NO,) * 7, short=(NO,) * 7)], 0.05)
    assert (open_.verdict, open_.lower, open_.upper, open_.p) == ("can't be told", 0.0, math.inf, 1.0)
    assert "no count of large" in open_.why
    none = replace(small, backbone="large", parameters=2, counts=(), past=(), short=(), reason="no full runs")
    assert trends([small, none], 0.05)[0].why == "large on rte: no full runs"
    (same,) = trends([small, replace(small, backbone="large", parameters=2)], 0.05)
    assert (same.verdict, same.lower, same.upper) == ("can't be told", 0.25, 4.0)
    assert "holds 1" in same.why
    assert trends([small], 0.05) == ()
    three = [replace(small, backbone=name, parameters=i) for i, name in enumerate("abc")]
    assert [(t.smaller, t.larger) for t in trends(three, 0.05)] == [("a", "b"), ("b", "c"), ("a", "c")]


def test_ranges_run_over_the_tasks_that_are_resolved() -> None:
    sides = [("low", "b", "m", 100, 400), ("low", "b", "m", 0, 100), ("low", "b", "m", None, None)]
    (found,) = ranges(sides)
    assert (found.lower, found.upper, found.resolved, found.tasks) == (0, 400, 2, 3)
    assert str(found) == "b · m: low (0, 400] over 2 of 3 tasks"
    assert ranges([("low", "b", "m", None, None)])[0].upper is None


def test_a_study_of_two_scales_says_all_of_it() -> None:
    rows = []
    for backbone, at in (("quickstart-l3", 4096), ("quickstart-l6", 256)):
        rows += curve({c: [0.4 if c < at else 0.9] * 4 for c in COUNTS}, backbone=backbone)
        rows += full([0.9, 0.9, 0.9], backbone=backbone)
    found = thresholds(selected(rows))
    assert {t.side: t.verdict for t in found.trends} == {"low": "falls", "high": "falls"}
    for t in found.trends:
        assert t.lower < 256 / 4096 < t.upper < 1
        assert (t.p < 0.05) == (t.side == "high")  # of low it is asked whether it rises
    assert [(r.backbone, r.side, r.lower, r.upper) for r in found.ranges if r.backbone == "quickstart-l6"] == [
        ("quickstart-l6", "low", 64, 256),
        ("quickstart-l6", "high", 64, 256),
    ]
    assert "across scales" in found.render()


def test_the_isotonic_fit_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 12):
        heights = rng.normal(size=size)
        assert isotonic_fit(heights) == pytest.approx(isotonic_regression(heights))
