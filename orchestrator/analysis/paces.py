"""Convergence between two scales of a family: is the larger one faster, and does it differ less over position seeds?

Cells that both scales have are compared, by task and count: the same requested counts where there are some, else those
of the same place, where both have as many (counts of a method differ by backbone). The position seeds are the units:
all cells of a scale share them, and nested counts and tasks are no independent draws.

**Steps**: each seed's mean of ln steps over the cells; the difference of the scales' means with Welch's interval.

**Spread**: over position seeds, the variance of ln steps, averaged over the cells. Its interval is that of one variance
with as many degrees of freedom as seeds less one, though an average over cells is known better: how much better can't
be told from few seeds, so that it covers more often than it says.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.analysis.pacing import log_steps

Logs = Mapping[int, float]  # position seed → ln steps


class Interval(NamedTuple):
    """An estimate of a ratio, and its interval."""

    ratio: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Pace:
    """How steps to the target, and their spread over position seeds, differ between two scales.

    Args:
        family: of both.
        smaller: backbone.
        larger: backbone.
        module: method, placement, operations and whatever else both share.
        tasks: of the cells that are compared.
        cells: how many these are.
        seeds_smaller: position seeds.
        seeds_larger: likewise.
        steps: the larger's over the smaller's, geometric mean; None where nothing can be compared.
        spread: likewise of the standard deviation of ln steps.
        note: what is left out, or why there is no ratio.
    """

    family: str
    smaller: str
    larger: str
    module: str
    tasks: tuple[str, ...]
    cells: int
    seeds_smaller: int
    seeds_larger: int
    steps: Interval | None
    spread: Interval | None
    note: str

    def row(self) -> dict[str, Any]:
        """A plain row; the two ratios and their ends are columns of their own."""
        values = {k: v for k, v in asdict(self).items() if k not in ("steps", "spread")}
        for name, found in (("steps", self.steps), ("spread", self.spread)):
            ends = found or (None, None, None)
            values |= {f"{name}_{end}": value for end, value in zip(Interval._fields, ends, strict=True)}
        return values | {"tasks": ", ".join(self.tasks)}

    def __str__(self) -> str:
        said = [
            f"{name} × {found.ratio:.2g} [{found.lower:.2g}, {found.upper:.2g}]"
            for name, found in (("steps", self.steps), ("spread over position seeds", self.spread))
            if found is not None
        ]
        told = "; ".join([*said, *([self.note] if self.note else [])])
        of = f" ({self.cells} cells on {', '.join(self.tasks)})" if self.cells else ""
        return f"from {self.smaller} to {self.larger} · {self.module}{of}: {told}"


def paces(runs: Iterable[Mapping[str, Any]], alpha: float) -> tuple[Pace, ...]:
    """Of neighbouring scales of a family, and of its smallest and largest; of runs that have position seeds.

    Args:
        runs: rows of :mod:`orchestrator.analysis.convergence`.
        alpha: one less the confidence of the intervals.
    """
    groups: dict[tuple[str, str], dict[str, list[Mapping[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    sizes: dict[str, int] = {}
    for run in runs:
        if run["position_seed"] is not None and run["state"] != "unresolved":
            groups[run["family"], _module(run)][run["backbone"]].append(run)
            sizes[run["backbone"]] = run["parameters"]
    found = []
    for (family, module), by_backbone in groups.items():
        names = sorted(by_backbone, key=lambda name: (sizes[name], name))
        pairs = [*pairwise(names), *([(names[0], names[-1])] if len(names) > 2 else [])]
        found += [_pace(family, module, pair, [by_backbone[name] for name in pair], alpha) for pair in pairs]
    return tuple(found)


def _module(run: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (run[name] for name in ("method", "placement", "operations", "variant"))))


def _pace(
    family: str, module: str, names: tuple[str, str], both: Sequence[list[Mapping[str, Any]]], alpha: float
) -> Pace:
    pairs = _matched(*(_cells(runs) for runs in both))
    reached = {task: [(a, b) for a, b in some if a and b] for task, some in pairs.items()}
    whole = [pair for some in reached.values() for pair in some]
    lost = sum(map(len, pairs.values())) - len(whole)
    note = f"left out: {lost} of {lost + len(whole)} cells that a run never reached" if lost else ""
    tasks = tuple(sorted(task for task, some in reached.items() if some))
    if not whole:
        return Pace(family, *names, module, tasks, 0, 0, 0, None, None, note or "no count in common")
    small, large = _array([pair[0] for pair in whole]), _array([pair[1] for pair in whole])
    steps, spread = ratio_of_steps(small, large, alpha), ratio_of_spreads(small, large, alpha)
    if min(len(small), len(large)) < 2:
        note = "; ".join(filter(None, (note, "one position seed in common: run 3 or more")))
    elif spread is None:
        note = "; ".join(
            filter(None, (note, "all seeds of a scale reach it at the same evaluation: evaluate more often"))
        )
    return Pace(family, *names, module, tasks, len(whole), len(small), len(large), steps, spread, note)


def _cells(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, Logs | None]]:
    """By task and count; None where a run never reaches the target."""
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["task"], run["count"]].append(run)
    by_task: dict[str, dict[int, Logs | None]] = defaultdict(dict)
    for (task, count), some in sorted(found.items()):
        by_task[task][count] = log_steps(some)
    return by_task


def _matched(
    small: Mapping[str, Mapping[int, Logs | None]], large: Mapping[str, Mapping[int, Logs | None]]
) -> dict[str, list[tuple[Logs | None, Logs | None]]]:
    """By task the cells that are compared."""
    found = {}
    for task in sorted(small.keys() & large.keys()):
        mine, theirs = small[task], large[task]
        counts = sorted(mine.keys() & theirs.keys())
        if counts:
            found[task] = [(mine[count], theirs[count]) for count in counts]
        elif len(mine) == len(theirs):
            found[task] = list(zip(mine.values(), theirs.values(), strict=True))
    return found


def _array(cells: Sequence[Logs]) -> NDArray[np.float64]:
    """[seeds, cells], of the seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(cell) for cell in cells)))
    return np.array([[cell[seed] for cell in cells] for seed in seeds]).reshape(len(seeds), len(cells))


def ratio_of_steps(small: NDArray[np.float64], large: NDArray[np.float64], alpha: float) -> Interval | None:
    """The larger scale's steps over the smaller's; None without two seeds of each.

    Args:
        small: [seeds, cells] ln steps.
        large: likewise, with seeds of its own.
        alpha: one less the confidence.
    """
    from scipy.special import stdtrit

    if min(len(small), len(large)) < 2:
        return None
    means = [side.mean(1) for side in (small, large)]
    parts = [float(m.var(ddof=1)) / len(m) for m in means]
    apart, variance = float(means[1].mean() - means[0].mean()), sum(parts)
    freedom = variance**2 / sum(p**2 / (len(m) - 1) for p, m in zip(parts, means, strict=True)) if variance else 1.0
    reach = float(stdtrit(freedom, 1 - alpha / 2)) * math.sqrt(variance)
    return Interval(*(_exp(value) for value in (apart, apart - reach, apart + reach)))


def ratio_of_spreads(small: NDArray[np.float64], large: NDArray[np.float64], alpha: float) -> Interval | None:
    """The larger scale's spread over seeds over the smaller's; None without two seeds, or without a spread.

    Args:
        small: as of :func:`ratio_of_steps`.
        large: likewise.
        alpha: likewise.
    """
    from scipy.special import fdtri

    if min(len(small), len(large)) < 2:
        return None
    first, second = (float(side.var(axis=0, ddof=1).mean()) for side in (small, large))
    if not first or not second:
        return None
    freedom = len(small) - 1, len(large) - 1
    ratio = second / first
    lower, upper = ratio / fdtri(*freedom[::-1], 1 - alpha / 2), ratio * fdtri(*freedom, 1 - alpha / 2)
    return Interval(*(math.sqrt(value) for value in (ratio, lower, upper)))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
