"""Rules for both thresholds: the product's, and simpler ones to hold beside it.

Each takes a side, ``low`` or ``high``, and a batch of curves, and gives, for every curve, the index of the smallest
count that it claims; the number of counts where it claims none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from orchestrator.analysis import evidence
from orchestrator.analysis.contrast import down
from simulated.curves import Batch, Cell

ALPHA = 0.05
Array = NDArray[Any]


def ours(side: str, batch: Batch, cell: Cell) -> Array:
    """What `apet thresholds` says."""
    if side == "low":
        return evidence.low(batch.counts, ALPHA)
    return evidence.high(batch.counts, batch.full, ALPHA, cell.margin)


def scores_alone(side: str, batch: Batch, cell: Cell) -> Array:
    """As before rows had answers: low by a pooled t-test, with the binomial luck of the floor; high by Welch's.

    A count's variance is the larger of pooled and own, its degrees of freedom the pooled ones.
    """
    scores = np.stack([runs.scores.mean(-1) for runs in batch.counts], -2).astype(float)  # [curves, counts, replicates]
    full = batch.full.scores.mean(-1).astype(float)
    n, runs = scores.shape[-1], full.shape[-1]
    mean, own = scores.mean(-1), scores.var(-1, ddof=1)
    pooled, freedom = own.mean(-1, keepdims=True), own.shape[-1] * (n - 1)
    floor = _floor(batch)
    if side == "low":
        rows = floor * (1 - floor) / cell.rows
        return down(stdtr(freedom, -(mean - floor) / np.sqrt(pooled / n + rows)), ALPHA)
    mine, theirs = np.maximum(pooled, own) / n, full.var(-1, ddof=1)[:, None] / runs
    welch = (mine + theirs) ** 2 / (mine**2 / freedom + theirs**2 / (runs - 1))
    bar = full.mean(-1, keepdims=True) - cell.margin
    return down(np.where(bar > floor, stdtr(welch, -(mean - bar) / np.sqrt(mine + theirs)), 1.0), ALPHA)


def means_alone(side: str, batch: Batch, cell: Cell) -> Array:
    """As a figure is read: where the mean stays above the floor, and within the margin of full fine-tuning's."""
    mean = np.stack([runs.scores.mean((-1, -2)) for runs in batch.counts], -1)
    bar = _floor(batch) if side == "low" else batch.full.scores.mean((-1, -2))[:, None] - cell.margin
    return down(np.where(mean > bar if side == "low" else mean >= bar, 0.0, 1.0), ALPHA)


def _floor(batch: Batch) -> Array:
    """[curves, 1] what the constant answer scores on the test rows."""
    return np.asarray(batch.full.references[0].mean((-1, -2), dtype=float)[:, None])


RULES = {"ours": ours, "scores alone": scores_alone, "means alone": means_alone}
