"""The tests behind the thresholds, on arrays: of one curve, or of thousands at once.

**Low**: a count is above when its scores beat both the constant answer and the untrained module, each paired over the
test rows and each at α. Both must be beaten, so that no correction is due (intersection–union: Berger, Technometrics
24, 1982). The untrained module stands under the same frozen head or label words: a head that is lucky on the test rows
is lucky in both.

**High**: a count equals full fine-tuning when it is shown to be at most the margin below it (non-inferiority), by the
variance of its own seeds, of the full runs' and of the rows on which the two disagree.

From the largest count down each, until the first that isn't shown (:func:`orchestrator.analysis.contrast.down`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.contrast import Array, Contrast, Labels, between, contrast, down, p_value, p_values, pooled

LEAST_FULL = 3  # runs of full fine-tuning: two agree by luck too often


@dataclass(frozen=True)
class Runs:
    """The replicates of one count, or of full fine-tuning, on the test rows.

    Args:
        scores: [..., replicates, rows].
        by: factors of the replicates, see :func:`orchestrator.analysis.contrast.factors`.
        references: what low is to beat: [..., replicates or 1, rows] each.
        lost: replicates without a score of their own, which bring no degree of freedom.
    """

    scores: Array
    by: tuple[Labels, ...]
    references: tuple[Array, ...] = ()
    lost: int = 0

    def gains(self) -> list[Contrast]:
        """Against each reference, by the count's own variance."""
        return [contrast(self.scores, reference, self.by, self.lost) for reference in self.references]

    def beside(self, full: Runs) -> Contrast:
        """Against full fine-tuning."""
        return between(self.scores, self.by, full.scores, full.by, self.lost)


def gains(counts: Sequence[Runs]) -> list[list[Contrast]]:
    """By reference, then by count: with the larger of the pooled and each count's own variance."""
    return [pooled(list(of)) for of in zip(*(runs.gains() for runs in counts), strict=True)]


def joint(gained: Sequence[Sequence[Contrast]], shift: float = 0.0) -> Array:
    """[..., counts] p-values of not being more than ``-shift`` above every reference.

    Args:
        gained: by reference, then by count, ascending.
        shift: what is added to the gain.
    """
    return np.asarray(np.max([p_values(of, shift) for of in gained], axis=0))


def learnt_p(full: Runs, margin: float) -> Array:
    """[...] p-value of full fine-tuning being no more than the margin above a reference: then nothing could be lost."""
    return np.asarray(np.max([p_value(c, -margin) for c in full.gains()], axis=0))


def within(beside: Sequence[Contrast], margin: float) -> Array:
    """[..., counts] p-values of being more than the margin below full fine-tuning.

    Args:
        beside: counts against full fine-tuning, ascending.
        margin: a fraction.
    """
    return p_values(beside, margin)


def low(counts: Sequence[Runs], alpha: float) -> NDArray[np.int64]:
    """How many counts aren't shown to be above; all of them where it is unresolved."""
    return down(joint(gains(counts)), alpha)


def high(counts: Sequence[Runs], full: Runs, alpha: float, margin: float) -> NDArray[np.int64]:
    """How many counts aren't shown to equal full fine-tuning; all of them where it is unresolved."""
    if full.scores.shape[-2] < LEAST_FULL:
        return np.full(full.scores.shape[:-2], len(counts))
    shown = down(within([runs.beside(full) for runs in counts], margin), alpha)
    return np.where(learnt_p(full, margin) < alpha, shown, len(counts))
