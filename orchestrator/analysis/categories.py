"""Transfer within a category of tasks against across categories: the difference of mean relative performance.

**What is independent.** One trained module gives a whole line of the matrix, and one reference a whole column: cells
are not. Seeds are: every (position seed, train seed) pair has a whole matrix of its own, so each gives one difference,
and their spread is that of the difference, whatever the cells of a matrix share. The interval is Student's over them,
crossed seeds as :mod:`orchestrator.analysis.contrast` has it. A cell is a ratio of means over seeds; its part in a
seed's difference is linear (the delta method).

**Rows.** All seeds are scored on the same test rows, whose luck the seeds' spread doesn't show. Answers on targets
aren't in the rows of attempts, so it is counted at the most that it can be, as if that of every run pulled one way.

**Tasks** are these few, and the interval is for these. Whether other tasks would show it too, a permutation says: how
many ways of dealing out the categories among the tasks give as large a difference. Of two categories of two tasks
there are three ways, and no p below 1/3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.contrast import Array, Contrast, Labels, interval, spread

MOST_WAYS = 20_000  # of dealing out categories; where there are more, as many are drawn


@dataclass(frozen=True)
class Difference:
    """Mean relative performance within categories less that across.

    Args:
        within: the mean over pairs of different tasks of one category.
        across: that over pairs of two.
        lower: of the interval of the difference; None where seeds don't tell.
        upper: likewise.
        p: of the permutation of tasks, one-sided.
    """

    within: float
    across: float
    lower: float | None
    upper: float | None
    p: float

    @property
    def difference(self) -> float:
        """Within less across."""
        return self.within - self.across


def difference(
    scores: Array, references: Array, categories: Sequence[str], rows: Array, by: Sequence[Labels], alpha: float
) -> Difference:
    """The difference of one matrix; it has a pair of either kind.

    Args:
        scores: [seeds, tasks, tasks], trained on the first and scored on the second; NaN where there is none, in all
            seeds alike; the diagonal doesn't matter.
        references: likewise, trained and scored on the second.
        categories: of the tasks.
        rows: [tasks] test rows.
        by: factors of the seeds, see :func:`orchestrator.analysis.contrast.labelled`.
        alpha: one less the confidence.
    """
    there = ~(np.isnan(scores) | np.isnan(references)).any(0) & ~np.eye(len(categories), dtype=bool)
    alike = np.array([[a == b for b in categories] for a in categories])
    weights = _weights(alike, there)
    score, reference = (np.where(there, of.mean(0), 1.0) for of in (scores, references))
    relative = score / reference
    parts = np.where(there, (scores - relative * references) / reference, 0.0)
    each = (weights * relative).sum() + (weights * parts).sum((-2, -1))
    luck = _luck(np.where(there, weights / reference, 0.0), score, relative, reference, rows)
    seeds = tuple(spread(each[:, None], labels) for labels in by)
    ends = interval(Contrast(np.asarray(each.mean()), np.asarray(luck), int(rows.min()) - 1, seeds), alpha)
    lower, upper = (None, None) if ends is None or not seeds else (float(end) for end in ends)
    within, across = (float(relative[there & of].mean()) for of in (alike, ~alike))
    return Difference(within, across, lower, upper, _share(relative, there, categories))


def _weights(alike: NDArray[np.bool_], there: NDArray[np.bool_]) -> Array:
    """[tasks, tasks] of each cell in the difference."""
    within, across = there & alike, there & ~alike
    return np.asarray(within / within.sum() - across / across.sum())


def _luck(weights: Array, scores: Array, relative: Array, references: Array, rows: Array) -> float:
    """The most that the luck of the test rows adds to the variance: a score p varies by p(1 - p) a row at most.

    Args:
        weights: [tasks, tasks] of the scores in the difference, 0 where there are none.
        scores: likewise.
        relative: likewise.
        references: likewise.
        rows: [tasks].
    """
    mine = (np.abs(weights) * np.sqrt(scores * (1 - scores))).sum(0)
    theirs = np.abs((weights * relative).sum(0)) * np.sqrt(references * (1 - references)).max(0)
    return float(((mine + theirs) ** 2 / rows).sum())


def _share(relative: Array, there: NDArray[np.bool_], categories: Sequence[str]) -> float:
    """The share of the ways of dealing out the categories that give as large a difference."""
    names = sorted(set(categories))
    codes = np.array([names.index(name) for name in categories])

    def found(dealt: NDArray[np.int64]) -> float:
        alike = dealt[:, None] == dealt
        if not (there & alike).any() or not (there & ~alike).any():
            return -math.inf
        return float((_weights(alike, there) * relative).sum())

    least = found(codes) - 1e-12
    ways = [found(dealt) >= least for dealt in _dealt(codes)]
    return sum(ways) / len(ways)


def _dealt(codes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """All ways of dealing out codes among tasks, or many of them, the one that is there among them."""
    ways = math.factorial(len(codes))
    for times in Counter(codes.tolist()).values():
        ways //= math.factorial(times)
    if ways > MOST_WAYS:
        rng = np.random.default_rng(0)
        yield codes
        yield from (rng.permutation(codes) for _ in range(MOST_WAYS - 1))
    else:
        yield from (np.array(dealt) for dealt in _distinct(tuple(sorted(codes.tolist()))))


def _distinct(codes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The different orders of some codes.

    >>> list(_distinct((0, 0, 1)))
    [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    """
    if not codes:
        yield ()
    for code in dict.fromkeys(codes):
        rest = list(codes)
        rest.remove(code)
        yield from ((code, *more) for more in _distinct(tuple(rest)))
