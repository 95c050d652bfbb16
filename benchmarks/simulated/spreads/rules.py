"""What is said of the spreads of two scales: by the product, and by simpler ways to hold beside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtr

from orchestrator.analysis.dispersion.components import Component, component, mean_of
from orchestrator.analysis.dispersion.limits import Limits, limits, of_variance, p_smaller, ratio
from simulated.spreads.studies import Study

ALPHA = 0.05
RESAMPLES = 200
MOST_PERMUTED = 6  # levels of a scale, all of whose permutations are looked at
Array = NDArray[Any]


@dataclass(frozen=True)
class Scale:
    """What a scale is judged by.

    Args:
        found: the component, over counts.
        means: [studies, counts, levels] over tasks and blocks.
        taken: [studies] what the product takes for luck.
    """

    found: Component
    means: Array

    @staticmethod
    def of(answers: list[list[Array]], study: Study) -> Scale:
        """From answers by count and task."""
        parts = [component(tasks, fixed=study.fixed) for tasks in answers]
        means = np.stack([np.mean([task.mean((-1, -2)) for task in tasks], axis=0) for tasks in answers], -2)
        return Scale(parts[0] if len(parts) == 1 else mean_of(parts, means), means)


def bootstrap(scale: Scale, rng: np.random.Generator) -> Limits:
    """Percentiles over resampled levels of what is seen, less what is taken for luck."""
    studies, _, levels = scale.means.shape
    drawn = rng.integers(0, levels, (RESAMPLES, levels))
    found = np.empty((RESAMPLES, studies))
    for i, chosen in enumerate(drawn):
        found[i] = scale.means[..., chosen].var(-1, ddof=1).mean(-1) - scale.found.taken
    return Limits(*np.quantile(found, [ALPHA / 2, 1 - ALPHA / 2], axis=0))


def permuted(small: Scale, large: Scale) -> Array:
    """[studies] p-value of whole levels' centred vectors over counts, permuted between scales."""
    both = np.concatenate([of - of.mean(-1, keepdims=True) for of in (large.means, small.means)], -1)
    squares = np.square(both).sum(-2)
    levels = large.means.shape[-1]
    sides = np.array([[i in chosen for i in range(2 * levels)] for chosen in combinations(range(2 * levels), levels)])
    share = squares @ sides.T.astype(float) / squares.sum(-1, keepdims=True)
    return np.asarray((share <= share[:, :1] + 1e-12).mean(-1))  # the first is as it was


def as_seen(small: Scale, large: Scale) -> Array:
    """[studies] p-value of F for the variances as they are seen, each count taken for a study of its own."""
    freedom = large.means.shape[-1] - 1
    counts = large.means.shape[-2]
    return np.asarray(fdtr(freedom * counts, freedom * counts, large.found.naive / small.found.naive))


def judge(study: Study, small: Scale, large: Scale, rng: np.random.Generator) -> dict[str, Array]:
    """[studies] a column each of what is said."""
    truth = study.sd[0] ** 2
    said = {
        "variance": small.found.variance,
        "seen": small.found.naive,
        "covers": _holds(limits(small.found, ALPHA), truth),
        "smaller": p_smaller(large.found, small.found) < ALPHA,
    }
    if truth:
        said["ratio covers"] = _holds(ratio(large.found, small.found, ALPHA), study.sd[1] ** 2 / truth)
    if not study.fixed:  # the others take levels for drawn
        said["covers as seen"] = _holds(of_variance(small.found.naive, small.found.freedom, ALPHA), truth)
        said["covers bootstrap"] = _holds(bootstrap(small, rng), truth)
        said["smaller as seen"] = as_seen(small, large) < ALPHA
    if not study.fixed and study.levels <= MOST_PERMUTED:
        said["smaller permuted"] = permuted(small, large) < ALPHA
    return said


def _holds(ends: Limits, truth: float) -> Array:
    return np.asarray((ends.lower <= truth) & (truth <= np.maximum(ends.upper, 0)))
