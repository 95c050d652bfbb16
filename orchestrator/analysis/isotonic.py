"""Isotonic regression of a count curve with a bootstrap band: the picture, never the test.

The fit is the non-decreasing curve nearest to the means, weighted by their replicates. The band resamples whole
replicates (a seed with its scores at every count), since positions are nested over counts and a lucky seed is
lucky at its neighbours too. The stream is fixed, so a report drawn twice is the same report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.curves import Point

DRAWS = 400
LEVEL = 0.95
BOOTSTRAP_SEED = 20230604


@dataclass(frozen=True)
class Isotonic:
    """A non-decreasing fit at ascending ``counts``, with a pointwise band of :data:`LEVEL`.

    The band is None where no count has two replicates: there is nothing to resample.
    """

    counts: tuple[int, ...]
    fit: tuple[float, ...]
    lower: tuple[float, ...] | None
    upper: tuple[float, ...] | None


def isotonic(points: Sequence[Point], draws: int = DRAWS) -> Isotonic:
    """Fit the scored replicates of a curve's points, ascending in count.

    >>> isotonic([Point(1, {(0, 0): 0.5}), Point(2, {(0, 0): 0.75})]).fit
    (0.5, 0.75)
    """
    points = [p for p in points if p.scores]
    counts = tuple(p.count for p in points)
    if not points:
        return Isotonic((), (), None, None)
    names = sorted({name for p in points for name in p.scores}, key=str)
    scores = np.array([[p.scores.get(name, np.nan) for name in names] for p in points])  # [counts, replicates]
    there = ~np.isnan(scores)

    def fitted(times: Array) -> Array:
        """[draws, counts] when replicate i stands ``times[:, i]`` times."""
        weights = times @ there.T
        with np.errstate(invalid="ignore"):
            return fits(times @ np.where(there, scores, 0.0).T / weights, weights)

    fit = fitted(np.ones((1, len(names))))[0]
    if there.sum(axis=1).max() < 2:
        return Isotonic(counts, tuple(map(float, fit)), None, None)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    resampled = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    drawn, which = np.unique(resampled, axis=0, return_inverse=True)  # three seeds have only ten resamples
    band = np.quantile(fitted(drawn.astype(float))[which], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Isotonic(counts, *(tuple(map(float, values)) for values in (fit, *band)))


def fits(means: Array, weights: Array) -> Array:
    """The non-decreasing values nearest to weighted means, a row each: at i, the largest of the least block means.

    A count without weight is read off its neighbours.

    Args:
        means: [draws, counts].
        weights: likewise, 0 where there is no mean.
    """
    n = means.shape[1]
    total = np.cumsum(np.pad(np.where(weights > 0, means * weights, 0.0), ((0, 0), (1, 0))), axis=1)
    weight = np.cumsum(np.pad(weights, ((0, 0), (1, 0))), axis=1)
    found = np.full_like(means, -np.inf)
    for first in range(n):  # blocks that begin here
        with np.errstate(invalid="ignore", divide="ignore"):
            block = (total[:, first + 1 :] - total[:, [first]]) / (weight[:, first + 1 :] - weight[:, [first]])
        block = np.where(np.isfinite(block), block, np.inf)  # of no weight
        least = np.minimum.accumulate(block[:, ::-1], axis=1)[:, ::-1]  # over the blocks' ends, i or later
        found[:, first:] = np.maximum(found[:, first:], np.where(np.isfinite(least), least, -np.inf))
    at = np.arange(n)
    for draw in np.flatnonzero((weights <= 0).any(axis=1)):
        kept = weights[draw] > 0
        found[draw] = np.interp(at, at[kept], found[draw, kept])
    return found
