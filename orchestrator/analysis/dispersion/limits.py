"""Intervals of a component of variance, and of the ratio of two.

**One component** is a variance less what luck adds to it. Its limits are those of Ting, Burdick, Graybill, Jeyaratnam and
Lu (J. Statist. Comput. Simul. 35, 1990) for a difference of mean squares. Where what luck adds is known (rows alone, one
train seed), they are the exact ones of Tukey and Williams: χ² limits of the variance seen, less the luck.

**A ratio** of two components of independent studies is cut out by the limits of both (MOVER: Donner and Zou, Stat.
Methods Med. Res. 21, 2012). It is open above where the smaller scale's component isn't shown to be above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.dispersion.components import Component

HALVINGS = 40  # of the search for a p-value
KNOWN = 1e6  # so many degrees of freedom are as good as any


@dataclass(frozen=True)
class Limits:
    """Limits of a variance, uncut: below 0 where the data are. Each [...]."""

    lower: Array
    upper: Array


def limits(of: Component, alpha: float) -> Limits:
    """Two-sided limits at 1 - α, each one-sided at α / 2."""
    from scipy.special import chdtri, fdtri

    a = alpha / 2
    first, second = np.minimum(of.freedom, KNOWN), np.minimum(of.freedom_taken, KNOWN)
    high, low = first / chdtri(first, a), first / chdtri(first, 1 - a)  # factors of the variance seen
    high_taken, low_taken = second / chdtri(second, a), second / chdtri(second, 1 - a)
    taken = np.maximum(of.taken, 0.0)
    down = _apart(of.naive, taken, 1 - high, low_taken - 1, fdtri(first, second, 1 - a))
    up = _apart(of.naive, taken, low - 1, 1 - high_taken, fdtri(first, second, a))
    return Limits(of.variance - down, of.variance + up)


def _apart(naive: Array, taken: Array, mine: Array, theirs: Array, quantile: Array) -> Array:
    """How far a limit lies from the estimate.

    Args:
        naive: the first mean square.
        taken: the second one.
        mine: how far the limit of the first lies from it, as a part of it.
        theirs: likewise of the second.
        quantile: of their ratio, at the same level.
    """
    cross = (np.square(quantile - 1) - np.square(mine * quantile) - np.square(theirs)) / quantile
    square = np.square(mine * naive) + np.square(theirs * taken) + cross * naive * taken
    return np.sqrt(np.maximum(square, 0.0))


def ratio(larger: Component, smaller: Component, alpha: float) -> Limits:
    """Limits of the ratio of two variances, the larger scale's over the smaller's; take roots for standard deviations."""
    mine, theirs = limits(larger, alpha), limits(smaller, alpha)
    top, bottom = larger.variance, smaller.variance
    with np.errstate(divide="ignore", invalid="ignore"):
        d, e = top - mine.lower, theirs.upper - bottom
        root = np.sqrt(np.maximum(np.square(top * e) + np.square(bottom * d) - np.square(d * e), 0.0))
        lower = np.where(theirs.upper > 0, (np.square(top) - np.square(d)) / (top * bottom + root), np.inf)
        lower = np.where(mine.lower > 0, lower, 0.0)
        d, e = mine.upper - top, bottom - theirs.lower
        root = np.sqrt(np.maximum(np.square(top * e) + np.square(bottom * d) - np.square(d * e), 0.0))
        upper = np.where(theirs.lower > 0, (top * bottom + root) / (np.square(bottom) - np.square(e)), np.inf)
        upper = np.where(mine.upper > 0, upper, 0.0)
    return Limits(lower, np.maximum(upper, lower))


def p_smaller(larger: Component, smaller: Component) -> Array:
    """[...] one-sided p-value of the larger scale's component not being smaller; 1 where it isn't at any level to 1/2."""
    low, high = np.zeros(np.shape(larger.naive)), np.full(np.shape(larger.naive), 0.5)
    shape = low.shape
    out = ~_shown(larger, smaller, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shown = _shown(larger, smaller, middle)
        low, high = np.where(shown, low, middle), np.where(shown, middle, high)
    return np.where(out, 1.0, high).reshape(shape)


def _shown(larger: Component, smaller: Component, level: Array) -> Array:
    """Whether the difference of the two, the larger scale's less the smaller's, has an upper limit below 0."""
    mine, theirs = limits(larger, 2 * level), limits(smaller, 2 * level)
    up, down = mine.upper - larger.variance, smaller.variance - theirs.lower
    return np.asarray(larger.variance - smaller.variance + np.sqrt(np.square(up) + np.square(down)) < 0)


def of_variance(variance: float, freedom: float, alpha: float) -> Limits:
    """Two-sided χ² limits of a variance that is seen."""
    from scipy.special import chdtri

    scaled = np.asarray(variance * freedom)
    return Limits(scaled / chdtri(freedom, alpha / 2), scaled / chdtri(freedom, 1 - alpha / 2))
