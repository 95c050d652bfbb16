"""Bisection for one threshold of one curve: which count is looked at next, from what is known of the others.

A count is **looked at** with a few seeds, which decide where the search goes and nothing else. What it comes to is
**confirmed** with seeds that the search hasn't seen: they alone decide the claim. One that isn't confirmed is not
above, whatever the look said, and the search goes on above it. What seeds and levels there are is in
:mod:`orchestrator.refining.rules`; here are verdicts only, so that ``benchmarks/statistics.py`` runs the same search.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

LOOK, CONFIRM, FOUND, NONE = "look", "confirm", "found", "none"
LEAST_CHANCE = 1 / 8  # of being needed: what is less likely isn't run ahead of its turn

Said = Mapping[int, bool]  # by count: whether it is above


@dataclass(frozen=True)
class Step:
    """What is to be done next, or that nothing is.

    Args:
        kind: ``look`` at a count, ``confirm`` it; ``found``: the bracket is (lower, upper]; ``none``: not even the
            largest count is above.
        count: to look at or to confirm; 0 where nothing is to be done.
        lower: the largest count that isn't above, 0 for none.
        upper: the smallest one above it that is; None where none is known.
    """

    kind: str
    count: int = 0
    lower: int = 0
    upper: int | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing is to be done."""
        return self.kind in (FOUND, NONE)


def step(counts: Sequence[int], looked: Said, confirmed: Said) -> Step:
    """The next step.

    The largest count is looked at first: where it isn't above, no other is, by the order of the tests, and little was
    spent. Then the one nearest to the middle of the bracket, in log count. A larger count that isn't above counts more
    than a smaller one that is.

    Args:
        counts: that may be run, ascending.
        looked: those looked at.
        confirmed: those that fresh seeds have decided on.
    """
    said = {**looked, **confirmed}
    lowest = max((i for i, count in enumerate(counts) if said.get(count) is False), default=-1)
    lower = counts[lowest] if lowest >= 0 else 0
    if lowest == len(counts) - 1:
        return Step(NONE, lower=lower)
    if counts[-1] not in said:
        return Step(LOOK, counts[-1], lower)
    highest = min(i for i in range(lowest + 1, len(counts)) if said.get(counts[i]))
    upper = counts[highest]
    if between := counts[lowest + 1 : highest]:
        middle = (math.log(lower or between[0]) + math.log(upper)) / 2
        return Step(
            LOOK, min(between, key=lambda count: (round(abs(math.log(count) - middle), 9), count)), lower, upper
        )
    return Step(FOUND if confirmed.get(upper) else CONFIRM, 0 if confirmed.get(upper) else upper, lower, upper)


def heard(counts: Sequence[int], looked: Said, confirmed: Said) -> dict[int, bool]:
    """Of what fresh seeds say, what the search asks for: others may be there, of a grid, and must not lead it.

    Args:
        counts, looked, confirmed: see :func:`step`.
    """
    asked: dict[int, bool] = {}
    while (now := step(counts, looked, asked)).kind == CONFIRM and now.count in confirmed:
        asked[now.count] = confirmed[now.count]
    return asked


def ahead(
    counts: Sequence[int], looked: Said, confirmed: Said, begun: Callable[[Step], bool]
) -> Iterator[tuple[float, Step]]:
    """Steps that aren't begun, each with the chance that it is needed, the likeliest first.

    That of the next one is 1. Where it is begun, so that its outcome is open, both outcomes are followed, each taken to
    come in half of all cases.

    Args:
        counts, looked, confirmed: see :func:`step`.
        begun: whether a step's trials run already, or have run and say nothing yet.
    """
    numbers = itertools.count()
    waiting = [(-1.0, next(numbers), dict(looked), dict(confirmed))]
    while waiting:
        negative, _, so_far, sure = heapq.heappop(waiting)
        found = step(counts, so_far, sure)
        if found.is_last:
            continue
        if not begun(found):
            yield -negative, found
        elif -negative / 2 >= LEAST_CHANCE:
            for outcome in (True, False):
                if found.kind == LOOK:
                    after = {**so_far, found.count: outcome}, sure
                else:
                    after = so_far, {**sure, found.count: outcome}
                heapq.heappush(waiting, (negative / 2, next(numbers), *after))
