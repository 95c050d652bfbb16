"""One spread with its evidence: what is seen, what luck adds, what is left, each with its limits."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable
from dataclasses import dataclass

from orchestrator.analysis.dispersion.components import Component, component, squares
from orchestrator.analysis.dispersion.groups import COUNTS, METHODS, POSITION, Group
from orchestrator.analysis.dispersion.layout import Layout, layout
from orchestrator.analysis.dispersion.limits import Limits, limits, of_variance

AGAIN = "run the sweep into a new store, since rows keep what they were written with"
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
        """What was left out, and why nothing could be said."""
        return (*self.group.notes, *self.layout.notes, *((self.why,) if self.why else ()))


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


def root(variance: float | None) -> float | None:
    """A standard deviation, cut at 0.

    >>> root(0.0004), root(-0.1), root(None)
    (0.02, 0.0, None)
    """
    return None if variance is None else math.sqrt(max(0.0, variance))
