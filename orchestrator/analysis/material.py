"""A curve as the tests read it: arrays of answers by count, with what each count is to beat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrator.analysis.answers import FULL, Answers
from orchestrator.analysis.contrast import Array, Contrast, Labels, Spread, factors, labelled, pooled, spread, unstacked
from orchestrator.analysis.curves import Curve, Point
from orchestrator.analysis.evidence import Runs

PAPER = "chance"  # the floor of the paper's rule
MOST_SCORES = 1_000_000  # of a part of a curve: 8 MB, and some times that while it is judged


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
    parts = _alike(points, given.rows)
    runs = [_runs(some, given, sides, curve.chance or 0.0, floor) for some in parts]
    own = [[unstacked(gain) for gain in some.gains()] for some in runs]  # by part, by what low is to beat, by count
    gains = [pooled(_ordered(parts, of, points)) for of in zip(*own, strict=True)]
    beside = () if isinstance(full, str) else _ordered(parts, [unstacked(some.beside(full)) for some in runs], points)
    return Material(points, gains, full, tuple(beside))


def _alike(points: Sequence[Point], rows: int) -> list[list[Point]]:
    """Points with the same replicates, which are judged at once; not more of them than memory should take."""
    groups: dict[tuple[Any, ...], list[Point]] = defaultdict(list)
    for point in points:
        groups[(*point.scores, point.lost)].append(point)
    parts = []
    for some in groups.values():
        most = max(1, MOST_SCORES // (some[0].n * rows))
        parts += [some[i : i + most] for i in range(0, len(some), most)]
    return parts


def _ordered(
    parts: Sequence[Sequence[Point]], found: Sequence[Sequence[Contrast]], points: Sequence[Point]
) -> list[Contrast]:
    """What was found of the points of each part, in the order of all points."""
    by_count = {p.count: one for part, of in zip(parts, found, strict=True) for p, one in zip(part, of, strict=True)}
    return [by_count[p.count] for p in points]


def _runs(points: Sequence[Point], given: Answers, sides: tuple[int, ...], chance: float, floor: str) -> Runs:
    """Of points with the same replicates: [points, replicates, rows]."""
    first = points[0]
    trained = np.stack([given.scores(p.count, p.scores) for p in points])
    lost = np.full((len(points), first.unscored, given.rows), chance)
    by = labelled(first.replicates, sides)
    references = _references(given, first, chance, floor)
    return Runs(np.concatenate([trained, lost], 1), by, references, first.unscored)


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
    runs = _runs([Point(FULL, dict.fromkeys(names, 0.0))], given, factors(names), curve.chance or 0.0, floor)
    return replace(runs, scores=runs.scores[0])


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
