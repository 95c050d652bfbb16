"""Mean differences and how uncertain they are: by the luck of the test rows and by that of the seeds.

Everything here is over arrays whose last two axes are replicates and test rows; axes before them are a batch. The
product judges one curve at a time, and ``benchmarks/statistics.py`` thousands, by these same functions.

**Rows.** Every replicate is scored on the same rows, so that their luck doesn't average away over seeds; nor does it
cancel against a reference scored on these rows, since the two disagree on many of them. Its variance is that of the
rows' differences, averaged over replicates, over their number.

**Seeds.** A replicate is a position seed and a train seed. Their luck is the spread of the replicates' means, by the
factors that were drawn (:func:`factors`): crossed factors each have their own, and both count. The means spread by the
rows' luck too, as far as replicates disagree on rows: that part is counted with the rows, and taken out here.

**Degrees of freedom** of a sum of variances are Satterthwaite's (Biometrics 2, 1946); crossed factors are those of
Cameron, Gelbach and Miller (JBES 29, 2011), without the interaction that they subtract.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
TINY = 1e-9  # differences of scores below this are rounding


@dataclass(frozen=True)
class Spread:
    """The part of a mean's variance that one factor of the seeds brings.

    Args:
        variance: [...] of the mean; the rows' luck is taken out.
        total: [...] with it: what is estimated with ``freedom``.
        levels: how many seeds of the factor there are.
        freedom: its degrees of freedom; 0 where there is nothing to see a spread in.
    """

    variance: Array
    total: Array
    levels: int
    freedom: int


@dataclass(frozen=True)
class Contrast:
    """A mean difference of scores at one count.

    Args:
        mean: [...] the difference.
        rows: [...] its variance by the luck of the test rows.
        freedom: degrees of freedom of ``rows``.
        seeds: its variance by the luck of the seeds, a part each.
    """

    mean: Array
    rows: Array
    freedom: int
    seeds: tuple[Spread, ...]

    @property
    def variance(self) -> Array:
        """[...] of the mean difference."""
        return self.rows + sum((s.variance for s in self.seeds), np.zeros(()))


def factors(replicates: Iterable[tuple[Hashable, Hashable]]) -> tuple[int, ...]:
    """Which sides of the (position seed, train seed) pairs of a curve are independent draws: 0, 1, both or none.

    One with a single level brings nothing to see; one that is nested in the other is part of it; else they cross.

    >>> factors([(0, 0), (1, 0), (2, 0)]), factors([(0, 0), (0, 1), (1, 0), (1, 1)])
    ((0,), (0, 1))
    >>> factors([(0, 0), (0, 1), (1, 2), (1, 3)])
    (0,)
    """
    pairs = set(replicates)
    sizes = [len({pair[side] for pair in pairs}) for side in (0, 1)]
    if min(sizes) > 1 and len(pairs) in sizes:
        return (0,) if sizes[1] == len(pairs) else (1,)
    return tuple(side for side in (0, 1) if sizes[side] > 1)


def labelled(replicates: Sequence[tuple[Hashable, Hashable]], sides: Iterable[int]) -> tuple[Labels, ...]:
    """The level of each replicate in each factor, as numbers from 0: [replicates] a factor."""
    levels = [{name: i for i, name in enumerate(dict.fromkeys(pair[side] for pair in replicates))} for side in sides]
    return tuple(
        np.array([level[pair[side]] for pair in replicates], int) for side, level in zip(sides, levels, strict=True)
    )


def spread(scores: Array, labels: Labels, lost: int = 0) -> Spread:
    """What a factor of the seeds brings to the variance of the mean over replicates.

    Args:
        scores: [..., replicates, rows], or their differences.
        labels: [replicates] the level of each.
        lost: degrees of freedom that levels without a score of their own don't bring.
    """
    replicates, rows = scores.shape[-2:]
    levels = int(labels.max()) + 1 if labels.size else 0
    if levels < 2:
        nothing = np.zeros(scores.shape[:-2])
        return Spread(nothing, nothing, levels, 0)
    apart = scores - scores.mean(-2, keepdims=True)
    if levels < replicates:
        apart = (labels == np.arange(levels)[:, None]).astype(scores.dtype) @ apart
    scale = levels / (levels - 1) / replicates**2
    means = apart.mean(-1)
    total = scale * np.square(means).sum(-1)
    squares = np.einsum("...r,...r->...", apart, apart) / rows
    within = scale * (squares - np.square(means)).sum(-1) / max(1, rows - 1)
    return Spread(np.where(total > within, total - within, 0.0), total, levels, max(0, levels - 1 - lost))


def contrast(scores: Array, reference: Array, by: Sequence[Labels], lost: int = 0) -> Contrast:
    """Scores less a reference that has no seeds of its own, or each replicate's own.

    Args:
        scores: [..., replicates, rows].
        reference: [..., replicates, rows], or what broadcasts to it: [..., 1, rows] of one that all share.
        by: factors of the replicates.
        lost: as of :func:`spread`.
    """
    apart = scores - reference
    return Contrast(*rows_part(apart.mean(-2)), tuple(spread(apart, labels, lost) for labels in by))


def between(mine: Array, by: Sequence[Labels], theirs: Array, their: Sequence[Labels], lost: int = 0) -> Contrast:
    """Scores less those of other runs on the same rows, with seeds of their own.

    Args:
        mine: [..., replicates, rows].
        by: factors of the replicates.
        theirs: [..., runs, rows].
        their: factors of the runs.
        lost: as of :func:`spread`, for ``mine``.
    """
    seeds = [spread(mine, labels, lost) for labels in by] + [spread(theirs, labels) for labels in their]
    return Contrast(*rows_part(mine.mean(-2) - theirs.mean(-2)), tuple(seeds))


def rows_part(differences: Array) -> tuple[Array, Array, int]:
    """Mean of rows' differences [..., rows], its variance by their luck, degrees of freedom."""
    rows = differences.shape[-1]
    mean = differences.mean(-1)
    return mean, differences.var(-1) / max(1, rows - 1), rows - 1


def pooled(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Contrasts over counts, with the larger of their own and the pooled variance for each factor of the seeds.

    Own: a count whose seeds are torn between learning and not must not be judged by the calm of the others. Pooled:
    that of three seeds is often too small by luck. The same seeds are at every count, so that the counts bring no
    degrees of freedom beyond those of one.

    Args:
        contrasts: of one curve, all with the same factors.
    """
    judged: list[list[Spread]] = [[] for _ in contrasts]
    for there in zip(*(c.seeds for c in contrasts), strict=True):
        freedom = sum(s.freedom for s in there)
        unit, whole = (
            sum(s.freedom * s.levels * v for s, v in zip(there, of, strict=True)) / max(1, freedom)
            for of in ([s.variance for s in there], [s.total for s in there])
        )  # of one seed
        most = max(s.freedom for s in there)
        for mine, own in zip(judged, there, strict=True):
            larger = np.maximum(own.variance, unit / own.levels), np.maximum(own.total, whole / own.levels)
            mine.append(Spread(*larger, own.levels, most))
    return [replace(c, seeds=tuple(mine)) for c, mine in zip(contrasts, judged, strict=True)]


def p_value(found: Contrast, shift: float = 0.0) -> Array:
    """[...] one-sided p-value of a mean difference not above ``-shift``; exact where there is no variance.

    1 where a factor of the seeds has no degree of freedom.
    """
    from scipy.special import stdtr

    above, variance = np.asarray(found.mean + shift), np.asarray(found.variance)
    if _untold(found):
        return np.ones(above.shape)
    safe = np.where(variance > 0, variance, 1.0)
    tail = stdtr(_freedom(found, safe), -above / np.sqrt(safe))
    return np.where(variance > 0, tail, np.where(above > TINY, 0.0, 1.0))


def p_values(contrasts: Sequence[Contrast], shift: float = 0.0, below: bool = False) -> Array:
    """[..., counts] of :func:`p_value`; at once where all have the same degrees of freedom, which is much faster.

    Args:
        contrasts: by count.
        shift: as there.
        below: of the mean difference not being below ``-shift``.
    """
    sign = -1 if below else 1
    if len({(c.freedom, *(s.freedom for s in c.seeds)) for c in contrasts}) != 1:
        return np.stack([p_value(replace(c, mean=sign * c.mean), sign * shift) for c in contrasts], -1)
    parts = [
        Spread(_last([s.variance for s in there]), _last([s.total for s in there]), 0, there[0].freedom)
        for there in zip(*(c.seeds for c in contrasts), strict=True)
    ]
    mean, rows = _last([sign * c.mean for c in contrasts]), _last([c.rows for c in contrasts])
    return p_value(Contrast(mean, rows, contrasts[0].freedom, tuple(parts)), sign * shift)


def _last(values: Sequence[Array]) -> Array:
    """Arrays along a last axis of their own."""
    return np.moveaxis(np.array(values), 0, -1)


def unstacked(found: Contrast) -> list[Contrast]:
    """A batch of contrasts one by one, along its first axis; what has no such axis they share."""
    shape = found.mean.shape
    spreads = [[np.broadcast_to(v, shape) for v in (s.variance, s.total)] for s in found.seeds]
    return [
        Contrast(
            found.mean[i],
            found.rows[i],
            found.freedom,
            tuple(
                Spread(variance[i], total[i], s.levels, s.freedom)
                for (variance, total), s in zip(spreads, found.seeds, strict=True)
            ),
        )
        for i in range(shape[0])
    ]


def interval(found: Contrast, alpha: float) -> tuple[Array, Array] | None:
    """The interval of a mean difference at 1 - α, [...] each end; None where a factor has no degree of freedom."""
    from scipy.special import stdtrit

    variance = np.asarray(found.variance)
    if _untold(found):
        return None
    reach = stdtrit(_freedom(found, np.where(variance > 0, variance, 1.0)), 1 - alpha / 2) * np.sqrt(variance)
    return found.mean - reach, found.mean + reach


def _untold(found: Contrast) -> bool:
    """Whether nothing is known of some of the luck."""
    return any(not s.freedom for s in found.seeds) or found.freedom < 1


def _freedom(found: Contrast, variance: Array) -> Array:
    """[...] degrees of freedom of a variance above 0, by Satterthwaite."""
    squares = found.rows**2 / found.freedom + sum((s.total**2 / s.freedom for s in found.seeds), np.zeros(()))
    return np.asarray(variance**2 / np.where(squares > 0, squares, 1.0))


def down(p: Array, alpha: float) -> NDArray[np.int64]:
    """The fixed sequence: how many counts aren't shown, when tested from the largest until the first isn't rejected.

    Each test has the whole α: a later one counts only if all before it rejected (Marcus, Peritz, Gabriel 1976).

    Args:
        p: [..., counts] in ascending order of count.
        alpha: level.

    >>> down(np.array([[0.0, 0.5, 0.01], [0.0, 0.01, 0.5]]), 0.05).tolist()
    [2, 3]
    """
    kept = np.logical_and.accumulate(p[..., ::-1] < alpha, axis=-1)
    return np.asarray(p.shape[-1] - kept.sum(-1), int)
