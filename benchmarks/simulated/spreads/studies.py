"""Two scales of a backbone whose spreads over positions, or over methods, are known, thousands of studies at a time.

Answers are drawn row by row as in :mod:`simulated.curves`. The test rows are the same on both scales. The larger one is
more often right, and its runs agree on more of the rows, so that luck adds less to what is seen there: that alone makes
scores seem to spread less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulated.curves import LAST, answers

Array = NDArray[Any]
COLLAPSE = 0.05  # share of runs that do, in the studies where some do


@dataclass(frozen=True)
class Study:
    """A kind of study. Accuracies and standard deviations are fractions of 1, and of means over tasks.

    Args:
        name: what it is called.
        sd: over levels, on the smaller and the larger scale.
        levels: position seeds, or methods.
        blocks: train seeds.
        counts: how many; the same seeds stand at each.
        tasks: how many.
        rows: test rows of each.
        fixed: whether the levels are methods: the same in every study.
        luck: how the places' luck is distributed: see :func:`_luck`.
        nested: correlation of a place's luck over counts.
        task_sd: what a place adds on one task, and takes on the others.
        train_sd: what the train seed adds, where there are several.
        own_sd: what a run adds that no other has, likewise.
        accuracy: on the smaller and the larger scale.
        shared: of rows' luck, likewise; see :mod:`simulated.curves`.
        held: whether the nominal rate is to hold.
    """

    name: str
    sd: tuple[float, float] = (0.02, 0.02)
    levels: int = 5
    blocks: int = 1
    counts: int = 1
    tasks: int = 3
    rows: int = 500
    fixed: bool = False
    luck: str = "normal"
    nested: float = 0.5
    task_sd: float = 0.01
    train_sd: float = 0.01
    own_sd: float = 0.01
    accuracy: tuple[float, float] = (0.7, 0.85)
    shared: tuple[float, float] = (0.65, 0.8)
    held: bool = True

    @property
    def what(self) -> str:
        """What is compared, in a few words: ``5 seeds × 2, 4 counts``."""
        levels = f"{self.levels} {'methods' if self.fixed else 'seeds'}"
        blocks = f" × {self.blocks}" if self.blocks > 1 else ""
        return f"{levels}{blocks}" + (f", {self.counts} counts" if self.counts > 1 else "")


def draw(study: Study, number: int, rng: np.random.Generator) -> tuple[list[list[Array]], list[list[Array]]]:
    """So many studies: for the smaller and the larger scale, by count and task, [studies, levels, blocks, rows]."""
    luck = rng.integers(0, LAST, (study.tasks, number, 1, study.rows), np.uint16)
    return _scale(study, 0, luck, rng), _scale(study, 1, luck, rng)


def _scale(study: Study, side: int, luck: Array, rng: np.random.Generator) -> list[list[Array]]:
    number, several = luck.shape[1], study.blocks > 1
    shape = (number, study.levels, 1)
    same = _luck(study, shape, rng)
    trains = study.train_sd * rng.standard_normal((number, 1, study.blocks)) if several else 0.0
    found = []
    for _ in range(study.counts):
        place = np.sqrt(study.nested) * same + np.sqrt(1 - study.nested) * _luck(study, shape, rng)
        if study.fixed:
            place = same
        own = study.own_sd * rng.standard_normal((number, study.levels, study.blocks)) if several else 0.0
        mean = study.accuracy[side] + study.sd[side] * place + trains + own
        apart = study.task_sd * rng.standard_normal((study.tasks, *shape))
        apart -= apart.mean(0)
        by_task = []
        for task in range(study.tasks):
            accuracy = np.broadcast_to(mean + apart[task], (number, study.levels, study.blocks))
            flat = answers(accuracy.reshape(number, -1), luck[task], study.shared[side], rng)
            by_task.append(flat.reshape(number, study.levels, study.blocks, study.rows))
        found.append(by_task)
    return found


def _luck(study: Study, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Places' luck with mean 0 and variance 1; of methods what they are, with that variance over them."""
    if study.fixed:
        given = np.linspace(-1, 1, study.levels) ** 3  # two near the middle, two far
        return np.broadcast_to((given / given.std(ddof=1))[:, None], shape)
    if study.luck == "two kinds":
        return np.where(rng.random(shape) < 0.5, 1.0, -1.0)
    if study.luck == "long tails":
        return rng.standard_t(5, shape) / np.sqrt(5 / 3)
    if study.luck == "collapse":
        return (COLLAPSE - (rng.random(shape) < COLLAPSE)) / np.sqrt(COLLAPSE * (1 - COLLAPSE))
    assert study.luck == "normal", study.luck
    return rng.standard_normal(shape)
