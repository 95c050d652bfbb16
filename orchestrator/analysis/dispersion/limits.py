"""Intervals of a component of variance, and of the ratio of two.

**One component** is a variance less what luck adds to it. Its limits are those of Ting, Burdick, Graybill, Jeyaratnam
and Lu (J. Statist. Comput. Simul. 35, 1990) for a difference of mean squares. Where what luck adds is known (rows
alone, one train seed), they are the exact ones: χ² limits of the variance seen, less the luck.

Levels that are all there are (methods, counts) aren't drawn: what is unknown of their spread is luck alone, and the
variance seen has the more degrees of freedom the larger it is beside the luck, at each limit those of that limit.

**A ratio** of two components of independent studies is that of which the one less so many times the other may be 0, by
limits made in the same way; without luck they are those of the F distribution. It is open above where the smaller
scale's component isn't shown to be above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.dispersion.components import Component

ROUNDS = 8  # until limits and their degrees of freedom agree
HALVINGS = 30  # of the search for a p-value
LARGEST_P = 0.3  # above, a χ² limit with one degree of freedom lies on the other side of the estimate
KNOWN = 1e6  # so many degrees of freedom are as good as any


@dataclass(frozen=True)
class Limits:
    """Limits of a variance, uncut: below 0 where the data are. Each [...]."""

    lower: Array
    upper: Array


@dataclass(frozen=True)
class _Side:
    """A one-sided limit.

    Args:
        apart: how far it lies from the estimate.
        freedom: of the variance seen.
        part: how far that may be from the true one, as a part of it.
    """

    apart: Array
    freedom: Array
    part: Array


def limits(of: Component, alpha: float) -> Limits:
    """Two-sided limits at 1 - α, each one-sided at α / 2."""
    lower, upper = (_side(of, alpha / 2, up) for up in (False, True))
    return Limits(of.variance - lower.apart, of.variance + upper.apart)


def _side(of: Component, a: float | Array, up: bool) -> _Side:
    """The limit at the level a: the upper one, or the lower.

    Over fixed levels the variance seen is a non-central χ². Patnaik's approximation (Biometrika 36, 1949) is a central
    one with more degrees of freedom: here those it has were the component as large as the limit. Most of its own
    variance is then that of what is fixed times luck, and luck is estimated: t instead of the normal for that share.
    """
    side = _central(of, of.freedom, a, up)
    if not of.fixed:
        return side
    taken = np.maximum(of.taken, 0.0)
    student = _student(np.minimum(of.freedom_taken, KNOWN), a)
    for _ in range(ROUNDS):
        limit = np.maximum(of.variance + side.apart * (1 if up else -1), 0.0)
        apart = np.minimum(np.where(taken > 0, limit / np.where(taken > 0, taken, 1.0), KNOWN), KNOWN)
        wider = np.sqrt(1 + 2 * apart / (1 + 2 * apart) * (np.square(student) - 1))
        side = _central(of, of.freedom * np.square(1 + apart) / (1 + 2 * apart), a, up, wider)
    return side


def _student(freedom: Array, a: float | Array) -> Array:
    """How many times a quantile of Student's t is that of the normal."""
    from scipy.special import ndtri, stdtrit

    level = np.minimum(a, 0.49)  # at 1/2 both are 0
    return np.asarray(stdtrit(freedom, 1 - level) / ndtri(1 - level))


def _central(of: Component, freedom: Array, a: float | Array, up: bool, wider: Array | float = 1.0) -> _Side:
    """The limit with given degrees of freedom of the variance seen, its own part so many times wider."""
    first, second = np.minimum(freedom, KNOWN), np.minimum(of.freedom_taken, KNOWN)
    mine, theirs = _part(first, a, up), _part(second, a, not up)
    taken = np.maximum(of.taken, 0.0)
    cross = _cross(first, second, mine, theirs, a, up) * of.naive * taken
    square = np.square(wider * mine * of.naive) + np.square(theirs * taken) + cross
    return _Side(np.sqrt(np.maximum(square, 0.0)), first, mine)


def _part(freedom: Array, a: float | Array, up: bool) -> Array:
    """How far the limit of a variance lies from it, as a part of it."""
    from scipy.special import chdtri

    return np.asarray(np.abs(freedom / chdtri(freedom, 1 - a if up else a) - 1))


def _cross(first: Array, second: Array, mine: Array, theirs: Array, a: float | Array, up: bool) -> Array:
    """What makes limits of a difference of two mean squares exact where it is nothing."""
    from scipy.special import fdtri

    quantile = fdtri(first, second, a if up else 1 - a)
    return np.asarray((np.square(quantile - 1) - np.square(mine * quantile) - np.square(theirs)) / quantile)


def _difference(larger: Component, smaller: Component, a: float | Array, up: bool) -> tuple[Array, Array, Array]:
    """What a limit of the larger's variance less q times the smaller's is made of.

    Returns:
        how far each component's own limit lies from it, and the cross term: the limit lies
        √(first² + q² second² + q cross) from the difference.
    """
    mine, theirs = _side(larger, a, up), _side(smaller, a, not up)
    cross = _cross(mine.freedom, theirs.freedom, mine.part, theirs.part, a, up) * larger.naive * smaller.naive
    return mine.apart, theirs.apart, cross


def ratio(larger: Component, smaller: Component, alpha: float) -> Limits:
    """Limits of the ratio of two variances, the larger scale's over the smaller's: squares of those that are shown.

    These are the ratios q of which the larger's variance less q times the smaller's may still be 0.
    """
    top, bottom = larger.variance, smaller.variance
    ends = []
    for up in (False, True):
        mine, theirs, cross = _difference(larger, smaller, alpha / 2, up)
        a, b, c = np.square(bottom) - np.square(theirs), 2 * top * bottom + cross, np.square(top) - np.square(mine)
        root = np.sqrt(np.maximum(np.square(b) - 4 * a * c, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            q = np.maximum((b + root) / (2 * a) if up else 2 * c / (b + root), 0.0)
        if up:
            ends.append(np.where(bottom > theirs, q, np.inf))  # else the smaller one's may be 0
        else:
            ends.append(np.where(top > mine, np.where(bottom + theirs > 0, q, np.inf), 0.0))
    return Limits(*ends)


def p_smaller(larger: Component, smaller: Component) -> Array:
    """[...] one-sided p-value of the larger scale's component not being smaller; 1 where it is above LARGEST_P."""
    low, high = np.zeros(np.shape(larger.naive)), np.full(np.shape(larger.naive), LARGEST_P)
    found = _shown(larger, smaller, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shown = _shown(larger, smaller, middle)
        low, high = np.where(shown, low, middle), np.where(shown, middle, high)
    return np.where(found, high, 1.0)


def _shown(larger: Component, smaller: Component, level: Array) -> NDArray[np.bool_]:
    """Whether the larger scale's variance less the smaller's has an upper limit below 0."""
    mine, theirs, cross = _difference(larger, smaller, level, True)
    apart = np.sqrt(np.maximum(np.square(mine) + np.square(theirs) + cross, 0.0))
    return np.asarray(larger.variance - smaller.variance + apart < 0)


def of_variance(variance: float, freedom: float, alpha: float) -> Limits:
    """Two-sided χ² limits of a variance that is seen."""
    from scipy.special import chdtri

    scaled = np.asarray(variance * freedom)
    return Limits(scaled / chdtri(freedom, alpha / 2), scaled / chdtri(freedom, 1 - alpha / 2))
