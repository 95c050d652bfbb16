"""Isotonic regression of a count curve with a bootstrap band: the picture, never the test.

The fit is the non-decreasing curve nearest to the means, weighted by their replicates. The band resamples whole
replicates (a seed with its scores at every count), since positions are nested over counts and a lucky seed is
lucky at its neighbours too. The stream is fixed, so a report drawn twice is the same report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    import numpy as np
    from sklearn.isotonic import isotonic_regression

    points = [p for p in points if p.scores]
    counts = tuple(p.count for p in points)
    if not points:
        return Isotonic((), (), None, None)
    names = sorted({name for p in points for name in p.scores}, key=str)
    scores = np.array([[p.scores.get(name, np.nan) for name in names] for p in points])  # [counts, replicates]
    there = ~np.isnan(scores)
    filled = np.where(there, scores, 0.0)

    def fitted(times: np.ndarray) -> list[float]:
        """The fit when replicate i stands ``times[i]`` times; counts that drop out are read off their neighbours."""
        weight = there @ times
        kept = weight > 0
        mean = (filled @ times)[kept] / weight[kept]
        fit = isotonic_regression(mean, sample_weight=weight[kept].astype(float))
        return [float(v) for v in np.interp(np.arange(len(counts)), np.flatnonzero(kept), fit)]

    fit = fitted(np.ones(len(names)))
    if there.sum(axis=1).max() < 2:
        return Isotonic(counts, tuple(fit), None, None)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    resampled = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    drawn, which = np.unique(resampled, axis=0, return_inverse=True)  # three seeds have only ten resamples
    band = np.quantile(np.array([fitted(times) for times in drawn])[which], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Isotonic(counts, *(tuple(map(float, values)) for values in (fit, *band)))
