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
        runs: their replicates' answers; empty where there are none.
        why: why there are none.
    """

    points: tuple[Point, ...]
    runs: tuple[Runs, ...]
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
    given = curve.answers
    if isinstance(given, str):
        return Material(points, (), given)
    sides = factors(pair for p in points for pair in p.replicates)
    return Material(points, tuple(_runs(p, given, sides, curve.chance or 0.0, floor) for p in points))


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


def full_runs(curve: Curve, floor: str) -> Runs | str:
    """Full fine-tuning beside a curve, or why it has no answers that fit the curve's."""
    given, mine = curve.full_answers, curve.answers
    if isinstance(given, str):
        return given
    if isinstance(mine, Answers) and mine.rows != given.rows:
        return f"it was scored on {given.rows} test rows, the curve on {mine.rows}"
    names = [name for _, name in given.right]
    point = Point(FULL, dict.fromkeys(names, 0.0))
    return _runs(point, given, factors(names), curve.chance or 0.0, floor)


def gain(found: Material, curve: Curve, floor: str) -> list[list[Contrast]]:
    """Each count's gain, by what it is to beat; [] where nothing can be said of it.

    Without answers the paper's rule can still be tested by the scores alone: rows' luck is then at most that of
    answers right by so much chance, p(1 - p) / rows.
    """
    if found.runs:
        return gains(found.runs)
    if floor != PAPER or curve.chance is None or not curve.test_rows:
        return []
    sides = factors(pair for p in found.points for pair in p.replicates)
    return [pooled([_by_scores(p, curve.chance, curve.test_rows, labelled(p.replicates, sides)) for p in found.points])]


def _by_scores(point: Point, chance: float, rows: int, by: tuple[Labels, ...]) -> Contrast:
    scores = np.array([*point.scores.values(), *[chance] * point.unscored])[:, None]  # as of one row
    mean = float(scores.mean())
    parts: tuple[Spread, ...] = tuple(spread(scores, labels, point.unscored) for labels in by)
    return Contrast(np.asarray(mean - chance), np.asarray(mean * (1 - mean) / rows), max(1, rows - 1), parts)
