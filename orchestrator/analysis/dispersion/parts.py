"""One spread with its evidence: what is seen, what luck adds, what is left, each with its limits."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.dispersion.components import Component, component, squares
from orchestrator.analysis.dispersion.groups import COUNTS, METHODS, POSITION, Group
from orchestrator.analysis.dispersion.layout import Layout, layout
from orchestrator.analysis.dispersion.limits import Limits, limits, of_variance

AGAIN = "run the sweep into a new store, since rows keep what they were written with"
FAR = (
    "lies far from the others (Grubbs' test at 1 %): where places collapse, the interval holds less often than it says"
)
OUTLYING = 0.01  # level at which one place is said to
_MORE = {POSITION: "position seed", METHODS: "method", COUNTS: "count"}


@dataclass(frozen=True)
class Part:
    """How far the levels of a group lie apart.

    Args:
        group: the runs.
        layout: those that enter.
        naive: variance over levels of the means that are seen, the paper's way; None with fewer than two levels.
        naive_limits: of it, at 1 - α.
        found: the component, and
        limits: its limits; None where nothing can be said.
        why: why not.
    """

    group: Group
    layout: Layout
    naive: float | None = None
    naive_limits: Limits | None = None
    found: Component | None = None
    limits: Limits | None = None
    why: str = ""

    @property
    def component(self) -> str:
        """What the component is of: with one block the levels' own luck can't be told from them."""
        what = self.group.what
        if len(self.layout.blocks) > 1:
            return what
        return f"{what} and {'seeds' if what == COUNTS else 'initial values'}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, why nothing could be said, and which place is far from the others."""
        far = outlying(self.layout.scores.mean(-1)) if self.group.what == POSITION and self.layout.scores.size else None
        lone = "" if far is None else f"position seed {self.layout.levels[far]} {FAR}"
        return (*self.group.notes, *self.layout.notes, *filter(None, (self.why, lone)))


def part(
    group: Group, alpha: float, tasks: Collection[str] | None = None, levels: Collection[Hashable] | None = None
) -> Part:
    """The spread over the levels of a group.

    Args:
        group: the runs.
        alpha: one less the confidence of the limits.
        tasks: those to take; None: all.
        levels: likewise.
    """
    laid = layout(group, tasks, levels)
    if len(laid.levels) < 2 or not laid.tasks:
        why = _too_few(group, laid) if tasks is None and levels is None else "both scales have too little in common"
        return Part(group, laid, why=why)
    fixed = group.what != POSITION
    naive = float(squares(laid.scores).levels)
    if isinstance(laid.answers, str):
        seen = None if fixed else of_variance(naive, len(laid.levels) - 1, alpha)
        why = f"{laid.answers}, so nothing says how much of it is the luck of the rows: {AGAIN}"
        return Part(group, laid, naive, seen, why=why)
    found = component(laid.answers, laid.scores, fixed)
    ends = limits(found, alpha)
    if fixed:  # what is seen has that luck in it
        seen = Limits(ends.lower + found.taken, ends.upper + found.taken)
    else:
        seen = of_variance(naive, len(laid.levels) - 1, alpha)
    return Part(group, laid, naive, seen, found, ends)


def _too_few(group: Group, laid: Layout) -> str:
    what = _MORE[group.what]
    if not group.runs:
        return "no run has a test score: `apet status` says what is failed or missing"
    if not laid.levels:
        return f"no {what} has a score on every task"
    more = "3 or more" if group.what == POSITION else "2 or more"
    rest = " with all scores" if laid.notes else ""
    return f"one {what}{rest}, so there is no spread to see: run {more} {what}s"


def outlying(means: Array) -> int | None:
    """Which one of four or more lies so far from the others as one rarely does, by Grubbs (Technometrics 11, 1969).

    >>> outlying(np.array([0.80, 0.81, 0.79, 0.80, 0.50])), outlying(np.array([0.80, 0.81, 0.79, 0.78, 0.74]))
    (4, None)

    Args:
        means: [levels].
    """
    from scipy.special import stdtrit

    n = len(means)
    apart = np.abs(means - means.mean())
    if n < 4 or not apart.any():
        return None
    t = float(stdtrit(n - 2, OUTLYING / (2 * n)))
    bar = (n - 1) / math.sqrt(n) * math.sqrt(t**2 / (n - 2 + t**2))
    return int(apart.argmax()) if apart.max() > bar * means.std(ddof=1) else None


def root(variance: float | None) -> float | None:
    """A standard deviation, cut at 0.

    >>> root(0.0004), root(-0.1), root(None)
    (0.02, 0.0, None)
    """
    return None if variance is None else math.sqrt(max(0.0, variance))
