"""Intervals of a component of variance, and of the ratio of two.

**One component** is a variance less what luck adds to it. Its limits are those of Ting, Burdick, Graybill, Jeyaratnam
and Lu (J. Statist. Comput. Simul. 35, 1990) for a difference of mean squares. Where what luck adds is known (rows
alone, one train seed), they are the exact ones: χ² limits of the variance seen, less the luck.

Levels that are all there are (methods, counts) aren't drawn: what is unknown of their spread is luck alone, and the
variance seen has the more degrees of freedom the larger it is beside the luck, at each limit those of that limit.

**A ratio** of two components of independent studies is cut out by the limits of both (MOVER: Donner and Zou, Stat.
Methods Med. Res. 21, 2012). It is open above where the smaller scale's component isn't shown to be above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.dispersion.components import Component

ROUNDS = 12  # until limits and their degrees of freedom agree
HALVINGS = 40  # of the search for a p-value
KNOWN = 1e6  # so many degrees of freedom are as good as any


@dataclass(frozen=True)
class Limits:
    """Limits of a variance, uncut: below 0 where the data are. Each [...]."""

    lower: Array
    upper: Array


def limits(of: Component, alpha: float) -> Limits:
    """Two-sided limits at 1 - α, each one-sided at α / 2."""
    lower = upper = of.variance
    for _ in range(ROUNDS if of.fixed else 1):
        lower = of.variance - _apart(of, _freedom(of, lower), alpha / 2, up=False)
        upper = of.variance + _apart(of, _freedom(of, upper), alpha / 2, up=True)
    return Limits(lower, upper)


def _freedom(of: Component, variance: Array) -> Array:
    """Degrees of freedom of the variance seen, were the component so large.

    The variance over fixed levels is a non-central χ²; Patnaik's approximation (Biometrika 36, 1949) is a central one
    with more degrees of freedom.
    """
    if not of.fixed:
        return of.freedom
    known = of.taken > 0
    apart = np.where(known, np.maximum(variance, 0.0) / np.where(known, of.taken, 1.0), KNOWN)
    apart = np.minimum(apart, KNOWN)
    return np.asarray(of.freedom * np.square(1 + apart) / (1 + 2 * apart))


def _apart(of: Component, freedom: Array, a: float | Array, up: bool) -> Array:
    """How far a one-sided limit at the level a lies from the estimate.

    Args:
        of: the component.
        freedom: of the variance seen.
        a: level.
        up: the upper limit.
    """
    from scipy.special import chdtri, fdtri

    first, second = np.minimum(freedom, KNOWN), np.minimum(of.freedom_taken, KNOWN)
    most, least = (1 - a, a) if up else (a, 1 - a)
    mine = np.abs(
        first / chdtri(first, most) - 1
    )  # how far the variance seen may be from the true one, as a part of it
    theirs = np.abs(second / chdtri(second, least) - 1)  # likewise what is taken, the other way
    quantile = fdtri(first, second, least)
    cross = (np.square(quantile - 1) - np.square(mine * quantile) - np.square(theirs)) / quantile
    taken = np.maximum(of.taken, 0.0)
    square = np.square(mine * of.naive) + np.square(theirs * taken) + cross * of.naive * taken
    return np.sqrt(np.maximum(square, 0.0))


def ratio(larger: Component, smaller: Component, alpha: float) -> Limits:
    """Limits of the ratio of two variances, the larger scale's over the smaller's: squares of those that are shown.

    These are the ratios of which the difference, the larger's less so many times the smaller's, may still be 0.
    """
    mine, theirs = limits(larger, alpha), limits(smaller, alpha)
    top, bottom = larger.variance, smaller.variance

    def root(d: Array, e: Array) -> Array:
        return np.sqrt(np.maximum(np.square(top * e) + np.square(bottom * d) - np.square(d * e), 0.0))

    with np.errstate(divide="ignore", invalid="ignore"):
        d, e = top - mine.lower, theirs.upper - bottom
        lower = np.where(theirs.upper > 0, (np.square(top) - np.square(d)) / (top * bottom + root(d, e)), np.inf)
        d, e = mine.upper - top, bottom - theirs.lower
        upper = (top * bottom + root(d, e)) / (np.square(bottom) - np.square(e))
    return Limits(np.where(mine.lower > 0, lower, 0.0), np.where(theirs.lower > 0, np.maximum(upper, 0.0), np.inf))


def p_smaller(larger: Component, smaller: Component) -> Array:
    """[...] one-sided p-value of the larger scale's component not being smaller; 1 where it isn't at any up to 1/2."""
    low, high = np.zeros(np.shape(larger.naive)), np.full(np.shape(larger.naive), 0.5)
    out = ~_shown(larger, smaller, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shown = _shown(larger, smaller, middle)
        low, high = np.where(shown, low, middle), np.where(shown, middle, high)
    return np.where(out, 1.0, high)


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
