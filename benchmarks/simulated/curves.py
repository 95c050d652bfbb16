"""Count curves with known thresholds, answers and all, thousands at a time.

A row is right for a run when a uniform number lies below the run's own accuracy. With probability ``shared`` that
number is the row's, the same for all runs; else it is fresh. So every run has exactly its accuracy in expectation,
and two runs of accuracy p disagree on 2p(1 − p)(1 − shared²) of the rows: a quarter with 0.65, as measured on the
3-layer quickstart encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.contrast import factors, labelled
from orchestrator.analysis.evidence import Runs

Array = NDArray[Any]
LAST = 2**16 - 1  # a uniform number is an integer below it, as a part of it


@dataclass(frozen=True)
class Cell:
    """A kind of study. Accuracies and standard deviations are fractions of 1.

    Args:
        name: what it is called.
        means: expected accuracy by count, ascending.
        seeds: position seeds and train seeds.
        full: expected accuracy of full fine-tuning.
        full_runs: how many there are.
        rows: test rows.
        majority: accuracy of the constant answer.
        untrained: expected accuracy of the untrained module.
        sd: of a replicate's accuracy, over replicates; a number a count where it differs.
        full_sd: of a full run's.
        nested: correlation of a seed's luck over counts.
        train_sd: what the train seed adds, where seeds cross.
        head_sd: of the untrained module's accuracy over heads. Counts up to the low threshold move with it.
        shared: see the module's text; of replicates and full runs.
        collapse: share of runs that fall by ``drop``, the mean staying what it is.
        drop: how far.
        torn: by count's index, how far half of the seeds lie above its mean and half below.
        tied: whether the first two full runs have one luck.
        margin: of high.
        held: whether the nominal rate is to hold (it isn't where runs collapse).
    """

    name: str
    means: tuple[float, ...]
    seeds: tuple[int, int] = (3, 1)
    full: float = 0.76
    full_runs: int = 3
    rows: int = 500
    majority: float = 0.5
    untrained: float = 0.4
    sd: float | tuple[float, ...] = 0.01
    full_sd: float = 0.006
    nested: float = 0.5
    train_sd: float = 0.0
    head_sd: float = 0.0
    shared: float = 0.65
    collapse: float = 0.0
    drop: float = 0.4
    torn: tuple[tuple[int, float], ...] = ()
    tied: bool = False
    margin: float = 0.02
    held: bool = True

    @property
    def replicates(self) -> list[tuple[int, int]]:
        """(position seed, train seed) pairs, all of them."""
        return [(p, t) for p in range(self.seeds[0]) for t in range(self.seeds[1])]

    @property
    def low(self) -> int:
        """Index of the smallest count from which all larger ones are above both references; their number if none."""
        return _from_here([mean > max(self.majority, self.untrained) + 1e-9 for mean in self.means])

    @property
    def high(self) -> int:
        """The same for being less than the margin below full fine-tuning, if that is more than it above the floor."""
        learnt = self.full - self.margin > max(self.majority, self.untrained) + 1e-9
        return _from_here([learnt and mean > self.full - self.margin + 1e-9 for mean in self.means])


def _from_here(above: list[bool]) -> int:
    return next((i for i in range(len(above)) if all(above[i:])), len(above))


@dataclass(frozen=True)
class Batch:
    """Curves of one cell: their counts, ascending, and the full runs."""

    counts: tuple[Runs, ...]
    full: Runs


def draw(cell: Cell, curves: int, rng: np.random.Generator) -> Batch:
    """So many curves of a cell."""
    pairs = cell.replicates
    by = labelled(pairs, factors(pairs))
    luck = rng.integers(0, LAST, (curves, 1, cell.rows), np.uint16)  # the rows', the same for every run
    constant = (rng.random((curves, 1, cell.rows), np.float32) < cell.majority).astype(np.float32)
    heads = cell.head_sd * rng.standard_normal((curves, cell.seeds[1]))
    untrained = answers(cell.untrained + heads, luck, cell.shared, rng)
    trains = np.array([train for _, train in pairs])
    references = (constant, untrained[:, trains] if cell.seeds[1] > 1 else untrained)
    counts = []
    for accuracy in _accuracies(cell, curves, heads[:, trains], rng):
        counts.append(Runs(answers(accuracy, luck, cell.shared, rng), by, references))
    return Batch(tuple(counts), _full(cell, luck, constant, rng))


def _accuracies(cell: Cell, curves: int, heads: Array, rng: np.random.Generator) -> list[Array]:
    """[curves, replicates] of each count."""
    pairs = cell.replicates
    trains = cell.train_sd * rng.standard_normal((curves, cell.seeds[1]))[:, [train for _, train in pairs]]
    positions = rng.standard_normal((curves, cell.seeds[0]))[:, [position for position, _ in pairs]]
    sds = cell.sd if isinstance(cell.sd, tuple) else (cell.sd,) * len(cell.means)
    crossed = cell.seeds[1] > 1  # then a position's luck is the same whatever the train seed
    torn = dict(cell.torn)
    found = []
    for i, (mean, sd) in enumerate(zip(cell.means, sds, strict=True)):
        fresh = rng.standard_normal((curves, cell.seeds[0]))[:, [position for position, _ in pairs]]
        luck = np.sqrt(cell.nested) * positions + np.sqrt(1 - cell.nested) * fresh
        own = 0.3 * sd * rng.standard_normal((curves, len(pairs))) if crossed else 0.0
        head = heads if i < cell.low else 0.0
        accuracy = mean + head + sd * luck + own + trains
        if i in torn:
            accuracy += torn[i] * np.where(rng.random((curves, len(pairs))) < 0.5, 1, -1)
        found.append(accuracy + _collapses(cell, accuracy.shape, rng))
    return found


def _collapses(cell: Cell, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return cell.drop * (cell.collapse - (rng.random(shape) < cell.collapse))


def _full(cell: Cell, luck: Array, constant: Array, rng: np.random.Generator) -> Runs:
    curves, pairs = len(luck), [(None, run) for run in range(cell.full_runs)]
    accuracy = cell.full + cell.full_sd * rng.standard_normal((curves, cell.full_runs))
    if cell.tied:
        accuracy[:, 1] = accuracy[:, 0]
    scores = answers(accuracy, luck, cell.shared, rng)
    if cell.tied:
        scores[:, 1] = scores[:, 0]
    untrained = answers(np.full((curves, 1), cell.untrained), luck, cell.shared, rng)
    return Runs(scores, labelled(pairs, factors(pairs)), (constant, untrained))


def answers(accuracy: Array, luck: Array, shared: float, rng: np.random.Generator) -> Array:
    """[curves, runs, rows] whether each is right, by its accuracy [curves, runs] and the rows' luck [curves, 1, rows].

    One draw a row: below ``shared`` the row's own number decides, else the draw itself does, stretched.
    """
    drawn = rng.integers(0, LAST, (*accuracy.shape, luck.shape[-1]), np.uint16)
    bar = np.clip(accuracy[..., None], 0, 1)
    own, fresh = (np.round(LAST * value).astype(np.uint16) for value in (bar, shared + (1 - shared) * bar))
    right = (drawn < fresh) & ((drawn >= np.uint16(round(LAST * shared))) | (luck < own))
    return right.astype(np.float32)
