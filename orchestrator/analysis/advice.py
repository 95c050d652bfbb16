"""What would resolve a threshold: how many seeds, how many test rows, if the mean that was seen holds."""

from __future__ import annotations

import math
from dataclasses import replace

from orchestrator.analysis.contrast import TINY, Contrast

POWER = 0.8  # of what is advised
MOST_SEEDS = 30  # advice beyond this says that seeds are not the way
MOST_ROWS = 100_000


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
    more_seeds = next((n for n in range(seeds + 1, MOST_SEEDS + 1) if enough(found, above, alpha, n / seeds, 1)), None)
    more_rows = _rows(found, above, alpha, 1)
    found_ways = [f"about {more_seeds} {what}"] if more_seeds else []
    found_ways += (
        [f"about {_rounded(rows * more_rows)} test rows"] if more_rows and rows * more_rows <= MOST_ROWS else []
    )
    if not found_ways:
        both = _rows(found, above, alpha, 10 / seeds) if seeds < 10 else None
        if both is None or rows * both > MOST_ROWS:
            return f"this mean would need more than {MOST_SEEDS} {what} or {MOST_ROWS} test rows"
        found_ways = [f"about 10 {what} and {_rounded(rows * both)} test rows together"]
    return f"or {', or '.join(found_ways)}, if this mean holds"


def enough(found: Contrast, above: float, alpha: float, seeds: float, rows: float) -> bool:
    """Whether so many times the seeds and the rows would do."""
    from scipy.special import stdtrit

    grown = [
        replace(s, variance=s.variance / seeds, total=s.total / seeds, freedom=round(s.levels * seeds) - 1)
        for s in found.seeds
    ]
    variance = float(found.rows / rows + sum(float(s.variance) for s in grown))
    if variance <= 0:
        return True
    squares = float(found.rows / rows) ** 2 / (found.freedom * rows)
    squares += sum(float(s.total) ** 2 / max(1, s.freedom) for s in grown)
    freedom = variance**2 / squares if squares > 0 else found.freedom
    return float(stdtrit(freedom, 1 - alpha) + stdtrit(freedom, POWER)) * math.sqrt(variance) <= above


def _rows(found: Contrast, above: float, alpha: float, seeds: float) -> float | None:
    """How many times the rows would do with so many times the seeds; None where no number does."""
    return next((1.1**i for i in range(1, 60) if enough(found, above, alpha, seeds, 1.1**i)), None)


def _rounded(rows: float) -> int:
    digits = max(0, len(str(int(rows))) - 2)
    return int(math.ceil(rows / 10**digits) * 10**digits)
