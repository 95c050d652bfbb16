"""The rules of a refinement: which seeds look and which confirm, at what levels; how a count's own rows are judged.

Which seeds decide what is a matter of their numbers alone, so that the rows say it, whoever ran them, and running the
same command again goes on where it stopped:

- position seeds 0 and 1 look; 2 is a third look where the seeds' spread alone keeps a count from being shown;
- from 3 on they confirm: as many as the sweep has position seeds, three at least.

A look's level only steers the search. It is a little below α for low, so that long rows of counts that are all at the
floor bring fewer chances to be wrong, and 2α for high, where the counts below are further off and power is dear; both
were chosen by simulation (``benchmarks/statistics.py``). The confirmation has α itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.contrast import Array, Contrast, p_value
from orchestrator.analysis.curves import Curve
from orchestrator.analysis.material import material

SIDES = ("low", "high")
LOOKS, THIRD, FIRST_FRESH = (0, 1), 2, 3  # position seeds
LEAST_FRESH = 3  # seeds that confirm
LOOK_LEVEL = {"low": 0.8, "high": 2.0}  # times α


@dataclass(frozen=True)
class Rules:
    """What a threshold is to be; see :func:`orchestrator.analysis.thresholds.thresholds`.

    Args:
        alpha: level of the claim.
        margin: of high.
        floor: of low.
    """

    alpha: float = 0.05
    margin: float = 0.02
    floor: str = "majority"


def look_p(contrasts: list[Contrast], shift: float) -> tuple[Array, Array]:
    """[...] p-values of a look by its own variance, and by the rows' luck alone.

    Args:
        contrasts: of one count, all of which must be above ``-shift``.
        shift: the margin of high, 0 for low.
    """
    alone = [replace(one, seeds=()) for one in contrasts]
    both = (np.max([p_value(one, shift) for one in some], axis=0) for some in (contrasts, alone))
    return next(both), next(both)


def needs_third(p: Array, by_rows: Array, level: float) -> NDArray[np.bool_]:
    """[...] whether a third seed is worth having: it is the seeds' spread alone that keeps a count from being shown."""
    return np.asarray((p >= level) & (by_rows < level))


def contrasts(curve: Curve, count: int, seeds: Collection[int], side: str, rules: Rules) -> list[Contrast]:
    """What must be above, of one count by some of its position seeds; [] where fewer than two have a result.

    Args:
        curve: its rows.
        count: one of its counts.
        seeds: position seeds.
        side: low: against each reference; high: against full fine-tuning.
        rules: the floor counts here.
    """
    found = next((point for point in curve.points if point.count == count), None)
    if found is None:
        return []
    scores = {pair: score for pair, score in found.scores.items() if pair[0] in seeds}
    lost = tuple(pair for pair in found.lost if pair[0] in seeds)
    if not scores:
        return []
    read = material(replace(curve, points=(replace(found, scores=scores, lost=lost),)), rules.floor)
    return [of[0] for of in read.gains] if side == "low" else list(read.beside)
