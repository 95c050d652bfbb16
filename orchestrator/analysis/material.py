"""A curve as the tests read it: arrays of answers by count, with what each count is to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.answers import FULL, Answers
from orchestrator.analysis.contrast import Array, Contrast, Labels, Spread, factors, labelled, pooled, spread
from orchestrator.analysis.curves import Curve, Point
from orchestrator.analysis.evidence import Runs, gains

PAPER = "chance"  # the floor of the paper's rule


@dataclass(frozen=True)
class Material:
    """What is tested of a curve.

    Args:
        points: counts with a result, ascending.
        gains: each count's gain, by what low is to beat and then by count; empty where nothing can be said of it.
        full: full fine-tuning's runs, or why they can't be compared with.
        beside: each count against full fine-tuning, if so.
        why: why there are no answers, where that is so.
    """

    points: tuple[Point, ...]
    gains: list[list[Contrast]]
    full: Runs | str
    beside: tuple[Contrast, ...] = ()
    why: str = ""

    @property
    def counts(self) -> list[int]:
        """The counts, ascending."""
        return [point.count for point in self.points]


def material(curve: Curve, floor: str) -> Material:
    """The answers of a curve's counts, and what low is to beat.

    A replicate that diverged before it had a score is right by chance on every row: it lowers the mean, and brings no
    degree of freedom.

    Args:
        curve: the curve.
        floor: ``majority``: the constant answer and the untrained module; ``chance``: that alone.
    """
    points = tuple(p for p in curve.points if p.n)
    sides = factors(pair for p in points for pair in p.replicates)
    given, full = curve.answers, _full(curve, floor)
    if isinstance(given, str):
        return Material(points, _by_scores_alone(curve, points, sides, floor), full, why=given)
    runs = [_runs(p, given, sides, curve.chance or 0.0, floor) for p in points]
    beside = () if isinstance(full, str) else tuple(one.beside(full) for one in runs)
    return Material(points, gains(runs), full, beside)


def _runs(point: Point, given: Answers, sides: tuple[int, ...], chance: float, floor: str) -> Runs:
    trained = given.scores(point.count, point.scores)
    scores = np.concatenate([trained, np.full((point.unscored, given.rows), chance)])
    by = labelled(point.replicates, sides)
    return Runs(scores, by, _references(given, point, chance, floor), point.unscored)


def _references(given: Answers, point: Point, chance: float, floor: str) -> tuple[Array, ...]:
    if floor == PAPER:
        return (np.full((1, given.rows), chance),)
    constant = given.constant_scores()
    untrained = given.untrained_scores(point.replicates)
    return (untrained,) if constant is None else (constant, untrained)


def _full(curve: Curve, floor: str) -> Runs | str:
    given, mine = curve.full_answers, curve.answers
    if isinstance(given, str):
        return given
    if isinstance(mine, Answers) and mine.rows != given.rows:
        return f"it was scored on {given.rows} test rows, the curve on {mine.rows}"
    names = [name for _, name in given.right]
    point = Point(FULL, dict.fromkeys(names, 0.0))
    return _runs(point, given, factors(names), curve.chance or 0.0, floor)


def _by_scores_alone(
    curve: Curve, points: tuple[Point, ...], sides: tuple[int, ...], floor: str
) -> list[list[Contrast]]:
    """Without answers the paper's rule can still be tested.

    The luck of rows is then at most that of answers that are right by so much chance, p(1 - p) / rows.
    """
    if floor != PAPER or curve.chance is None or not curve.test_rows:
        return []
    return [pooled([_by_scores(p, curve.chance, curve.test_rows, labelled(p.replicates, sides)) for p in points])]


def _by_scores(point: Point, chance: float, rows: int, by: tuple[Labels, ...]) -> Contrast:
    scores = np.array([*point.scores.values(), *[chance] * point.unscored])[:, None]  # as of one row
    mean = float(scores.mean())
    parts: tuple[Spread, ...] = tuple(spread(scores, labels, point.unscored) for labels in by)
    return Contrast(np.asarray(mean - chance), np.asarray(mean * (1 - mean) / rows), max(1, rows - 1), parts)
