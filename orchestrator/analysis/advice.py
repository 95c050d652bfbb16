"""What would resolve a threshold: how many seeds, how many test rows, if the mean that was seen holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.contrast import TINY, Contrast

POWER = 0.8  # of what is advised
MOST_SEEDS = 30  # advice beyond this says that seeds are not the way
MOST_ROWS = 100_000
TIMES = np.array([1.1**i for i in range(1, 60)])  # as many rows, that are tried
Times = float | NDArray[Any]


def advice(found: Contrast, above: float, alpha: float, seeds: int, what: str) -> str:
    """How many seeds or test rows would show a difference of this size, were it real, with the power :data:`POWER`.

    Args:
        found: the contrast that wasn't shown.
        above: how far its mean is above what was to be beaten.
        alpha: level.
        seeds: replicates that it has now.
        what: of what there would be more: ``seeds a count``.

    Returns:
        a clause such as ``or about 12 seeds a count, or about 1400 test rows, if this mean holds``; '' where the mean
        isn't above.
    """
    if above <= TINY:
        return ""
    rows = found.freedom + 1
    several = np.arange(seeds + 1, MOST_SEEDS + 1)
    more_seeds = _first(several, enough(found, above, alpha, several / seeds, 1))
    more_rows = _rows(found, above, alpha, 1)
    found_ways = [f"about {more_seeds:.0f} {what}"] if more_seeds else []
    found_ways += (
        [f"about {_rounded(rows * more_rows)} test rows"] if more_rows and rows * more_rows <= MOST_ROWS else []
    )
    if not found_ways:
        both = _rows(found, above, alpha, 10 / seeds) if seeds < 10 else None
        if both is None or rows * both > MOST_ROWS:
            return f"this mean would need more than {MOST_SEEDS} {what} or {MOST_ROWS} test rows"
        found_ways = [f"about 10 {what} and {_rounded(rows * both)} test rows together"]
    return f"or {', or '.join(found_ways)}, if this mean holds"


def enough(found: Contrast, above: float, alpha: float, seeds: Times, rows: Times) -> NDArray[np.bool_]:
    """Whether so many times the seeds and the rows would do, [ways] of both, or numbers."""
    from scipy.special import stdtrit

    seeds, rows = np.broadcast_arrays(np.asarray(seeds, float), np.asarray(rows, float))
    own = found.rows / rows
    spreads = [(s.variance / seeds, s.total / seeds, np.rint(s.levels * seeds) - 1) for s in found.seeds]
    variance = own + sum((variance for variance, _, _ in spreads), np.zeros(()))
    squares = own**2 / (found.freedom * rows)
    squares = squares + sum((total**2 / np.maximum(1, freedom) for _, total, freedom in spreads), np.zeros(()))
    known = np.where(squares > 0, squares, 1.0)
    freedom = np.where(squares > 0, variance**2 / known, found.freedom)
    reach = (stdtrit(freedom, 1 - alpha) + stdtrit(freedom, POWER)) * np.sqrt(np.maximum(variance, 0.0))
    return np.asarray((variance <= 0) | (reach <= above))


def _first(tried: NDArray[Any], shown: NDArray[np.bool_]) -> float | None:
    """The first that would do; None where none would."""
    return float(tried[np.argmax(shown)]) if shown.any() else None


def _rows(found: Contrast, above: float, alpha: float, seeds: float) -> float | None:
    """How many times the rows would do with so many times the seeds; None where no number does."""
    return _first(TIMES, enough(found, above, alpha, seeds, TIMES))


def _rounded(rows: float) -> int:
    digits = max(0, len(str(int(rows))) - 2)
    return int(math.ceil(rows / 10**digits) * 10**digits)
