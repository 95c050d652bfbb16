"""Where a curve passes a mark: limits of that count from below and from above, and an estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.analysis.contrast import Array, down, p_values
from orchestrator.analysis.curves import Curve
from orchestrator.analysis.evidence import LEAST_FULL, joint
from orchestrator.analysis.material import Material


@dataclass(frozen=True)
class Crossing:
    """One threshold of one curve, as a count at which the score passes a mark.

    Args:
        side: low or high.
        family: of the backbone.
        backbone: its name.
        parameters: how many it has.
        task: name.
        module: what else the curve is of.
        counts: ascending.
        past: one-sided p-value of each count not being past the mark.
        short: of each not being short of it.
        at: estimate, from the non-decreasing curve nearest to the means; None where that doesn't pass the mark.
        reason: why there are no tests.
    """

    side: str
    family: str
    backbone: str
    parameters: int
    task: str
    module: str
    counts: tuple[int, ...] = ()
    past: tuple[float, ...] = ()
    short: tuple[float, ...] = ()
    at: float | None = None
    reason: str = ""

    def limits(self, alpha: float) -> tuple[int, float]:
        """The largest count that is short and the smallest that is past, each at α: 0 and infinite where none is."""
        if not self.counts:
            return 0, math.inf
        up = len(self.counts) - int(down(np.array(self.short[::-1]), alpha))  # how many are shown to be short
        first = int(down(np.array(self.past), alpha))
        return (self.counts[up - 1] if up else 0), (self.counts[first] if first < len(self.counts) else math.inf)


def crossings(curve: Curve, found: Material, margin: float) -> tuple[Crossing, Crossing]:
    """Where a curve's gain over what low is to beat, and its deficit to full fine-tuning, pass the margin."""
    names = (curve.family, curve.backbone, curve.parameters, curve.task, module(curve))
    low, high = Crossing("low", *names), Crossing("high", *names)
    counts = tuple(found.counts)
    if all(len(p.scores) < 2 for p in found.points):
        none = "no count has two seeds with a score"
        return replace(low, reason=none), replace(high, reason=none)
    if gains := found.gains:
        least = np.min([[float(c.mean) for c in of] for of in gains], axis=0)
        short = np.min([p_values(of, -margin, below=True) for of in gains], axis=0) * len(gains)
        past = joint(gains, -margin)
        low = replace(low, counts=counts, past=tuple(past), short=tuple(short), at=_passes(counts, least - margin))
    else:
        low = replace(low, reason=found.why)
    if not found.beside or len(curve.full) < LEAST_FULL:
        why = found.why or f"full fine-tuning has {len(curve.full)} runs with answers, of {LEAST_FULL}"
        return low, replace(high, reason=why)
    beside = found.beside
    lags = np.array([float(c.mean) for c in beside])
    past, short = p_values(beside, margin), p_values(beside, margin, below=True)
    return low, replace(high, counts=counts, past=tuple(past), short=tuple(short), at=_passes(counts, lags + margin))


def module(curve: Curve) -> str:
    """What a curve is of, backbone and task aside."""
    return " ".join(filter(None, (curve.placement, curve.operations, curve.variant)))


def _passes(counts: Sequence[int], heights: Array) -> float | None:
    """The count at which the isotonic fit of heights passes 0, between counts on a log scale."""
    fit = isotonic_fit(heights)
    if not len(fit) or fit[0] >= 0 or fit[-1] < 0:
        return None
    i = int(np.argmax(fit >= 0))
    part = -fit[i - 1] / (fit[i] - fit[i - 1])
    return float(math.exp(math.log(counts[i - 1]) + part * math.log(counts[i] / counts[i - 1])))


def isotonic_fit(heights: Array) -> Array:
    """The non-decreasing values nearest to some, equally weighted: at i, the largest of the least means around it.

    >>> isotonic_fit(np.array([1.0, 3.0, 2.0, 4.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    at = np.arange(len(heights))
    sums = np.concatenate([[0.0], np.cumsum(heights)])
    ordered = at[:, None] <= at  # from, to
    sizes = np.where(ordered, at + 1 - at[:, None], 1)
    means = np.where(ordered, (sums[1:] - sums[:-1, None]) / sizes, np.inf)
    least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]  # of what begins there, and ends here or later
    return np.asarray(np.where(ordered, least, -np.inf).max(axis=0, initial=-np.inf))
