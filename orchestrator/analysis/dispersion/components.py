"""Components of variance: how far the levels of a factor lie apart, less what the luck of rows and seeds adds.

Everything is over arrays whose last two axes are **levels** (position seeds, methods or counts) and **blocks** (train
seeds; for counts: seeds), every level with every block, and whose values are means over tasks. Axes before them are a
batch: the product looks at one study at a time, ``benchmarks/statistics.py`` at thousands, by these same functions.

**Seeds.** In y[l, b] = mean + level[l] + block[b] + own[l, b] the blocks cancel between levels, and the variance over
levels of the means over B blocks expects var(level) + var(own) / B. The second part is the mean square of interaction
over B, which is subtracted. With one block it can't be seen: the component is then of the level *and* its own luck.

**Rows.** All runs are scored on the same N test rows, taken from many. Given the runs, each score ȳ is the mean over
rows of a row's score y_j, so the vector of scores has the covariance Σ / N, Σ being that of a row's vector. Any
quadratic form Q of the scores that doesn't see a shift of all of them expects

    E[Q(ȳ)] = Q(E ȳ) + tr(Q Σ) / N,

and tr(Q Σ) is estimated without bias by Σ_j Q(y_j − ȳ) / (N − 1). So the rows' part of every mean square is

    rows(Q) = Σ_j Q(y_j − ȳ) / (N (N − 1)).

For the variance over levels with one block, Q(y) is the mean over pairs of (y_k − y_l)² / 2, and of two runs that
answer right or wrong a row's (y_k − y_l)² is 1 where they disagree: rows(Q) is disagreement / (2N), but for the square
of the difference of the two scores. That is the short form; the one here holds for scores that are fractions, too. The
mean of T tasks, each with rows of its own, has rows(Q) = Σ_t rows_t(Q) / T².

So ``variance`` is unbiased, whatever the distributions are. It may be negative: then nothing is seen beyond luck, and a
standard deviation shown is cut at 0; means over many studies must not be made of cut ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.contrast import Array

NUMBERS = ("naive", "taken", "rows", "own", "blocks", "freedom", "freedom_taken")  # of a component


@dataclass(frozen=True)
class Squares:
    """Mean squares of levels × blocks, on the scale of means: each [...].

    Args:
        levels: variance over levels of their means over blocks.
        blocks: variance over blocks of their means over levels; 0 with one block.
        own: mean square of interaction, of one run; 0 with one block.
    """

    levels: Array
    blocks: Array
    own: Array


@dataclass(frozen=True)
class Component:
    """How far levels lie apart. Variances are of the means over blocks and tasks, in squared fractions of 1.

    Args:
        naive: [...] variance over levels as it is seen.
        taken: [...] what luck adds to it, rows' and seeds'.
        rows: [...] of that, what the rows add; with ``own`` / blocks it is ``taken``.
        own: [...] variance of a run's own luck, at the same level and block; 0 with one block, where it isn't known.
        blocks: [...] variance over blocks (train seeds), the rows' luck taken out; 0 with one block.
        freedom: [...] degrees of freedom of ``naive``, the levels drawn.
        freedom_taken: [...] those of ``taken``; infinite where only rows are taken out.
        fixed: the levels are all there are (methods, counts), and not drawn from many: unknown is only the luck.
    """

    naive: Array
    taken: Array
    rows: Array
    own: Array
    blocks: Array
    freedom: Array
    freedom_taken: Array
    fixed: bool = False

    @property
    def variance(self) -> Array:
        """[...] unbiased; may be negative."""
        return self.naive - self.taken


def squares(scores: Array) -> Squares:
    """Mean squares of [..., levels, blocks]; two levels or more."""
    levels, blocks = scores.shape[-2:]
    of_levels, of_blocks = scores.mean(-1), scores.mean(-2)
    first = of_levels.var(-1, ddof=1)
    if blocks < 2:
        return Squares(first, np.zeros_like(first), np.zeros_like(first))
    own = scores - of_levels[..., None] - of_blocks[..., None, :] + scores.mean((-1, -2), keepdims=True)
    freedom = (levels - 1) * (blocks - 1)
    return Squares(first, of_blocks.var(-1, ddof=1), np.square(own).sum((-1, -2)) / freedom)


def rows_part(answers: Array) -> Squares:
    """What the luck of one task's rows adds to the mean squares, without bias.

    Args:
        answers: [..., levels, blocks, rows] scores of rows; two or more.
    """
    rows = answers.shape[-1]
    apart = np.moveaxis(answers - answers.mean(-1, keepdims=True), -1, 0)
    of_rows = squares(apart)
    scale = rows * (rows - 1)
    return Squares(*(of.sum(0) / scale for of in (of_rows.levels, of_rows.blocks, of_rows.own)))


def component(answers: Sequence[Array], scores: Array | None = None, fixed: bool = False) -> Component:
    """The variance component of the levels.

    Args:
        answers: by task, [..., levels, blocks, rows].
        scores: [..., levels, blocks] means over tasks of what is judged; None: means of the answers.
        fixed: of :class:`Component`.
    """
    if scores is None:
        scores = np.mean([task.mean(-1) for task in answers], axis=0)
    levels, blocks = scores.shape[-2:]
    seen = squares(scores)
    parts = [rows_part(task) for task in answers]
    rows = Squares(*(sum(getattr(p, name) for p in parts) / len(parts) ** 2 for name in ("levels", "blocks", "own")))
    lasting = rows.levels - rows.own / blocks  # of the level with a row, whatever the block
    taken = seen.own / blocks + lasting
    return Component(
        naive=seen.levels,
        taken=taken,
        rows=rows.levels,
        own=seen.own - rows.own,
        blocks=seen.blocks - seen.own / levels - (rows.blocks - rows.own / levels),
        freedom=np.full(seen.levels.shape, float(levels - 1)),
        freedom_taken=_freedom_taken(seen.own / blocks, lasting, levels, blocks),
        fixed=fixed,
    )


def _freedom_taken(own: Array, lasting: Array, levels: int, blocks: int) -> Array:
    """Satterthwaite's, the rows' part known exactly."""
    if blocks < 2:
        return np.full(np.shape(own), np.inf)
    freedom = (levels - 1) * (blocks - 1)
    share = np.where(own > 0, (own + np.maximum(lasting, 0.0)) / np.where(own > 0, own, 1.0), np.inf)
    return freedom * np.square(share)


def stacked(parts: Sequence[Component]) -> Component:
    """Components of single studies as one of all, [parts]."""
    values = {name: np.array([float(getattr(p, name)) for p in parts]) for name in NUMBERS}
    return Component(**values, fixed=any(p.fixed for p in parts))


def mean_of(parts: Sequence[Component], means: Array) -> Component:
    """The mean of components of the same levels at several counts.

    Args:
        parts: by count.
        means: [..., counts, levels] scores, from which is seen how far counts move together.
    """
    levels = means.shape[-1]
    freedom = together(means) if levels > 1 else np.min([p.freedom for p in parts], axis=0)
    values = {name: np.mean([getattr(p, name) for p in parts], axis=0) for name in NUMBERS[:5]}
    return Component(**values, freedom=freedom, freedom_taken=np.min([p.freedom_taken for p in parts], axis=0))


def together(means: Array) -> Array:
    """[...] degrees of freedom of the mean over counts of the variances over levels.

    2 E² / Var is (levels - 1) (tr Σ)² / tr Σ², Σ being a level's covariance over counts (Box, Ann. Math. Statist. 25,
    1954): levels - 1 where counts move together, counts times as many where each is by itself. The estimate is that of
    Greenhouse and Geisser (1959). It is cautious with few levels, and the only one of those tried (that of Huynh and
    Feldt, and means of the two) that keeps the nominal rate where counts move nearly together.

    Args:
        means: [..., counts, levels].
    """
    freedom = means.shape[-1] - 1
    apart = means - means.mean(-1, keepdims=True)
    covariance = apart @ np.swapaxes(apart, -1, -2)
    trace = np.square(np.trace(covariance, axis1=-1, axis2=-2))
    squared = np.square(covariance).sum((-1, -2))
    return np.asarray(freedom * np.where(squared > 0, trace / np.where(squared > 0, squared, 1.0), 1.0))
