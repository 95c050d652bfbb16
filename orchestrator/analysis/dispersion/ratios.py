"""Do scores spread less on the larger scale? The ratio of two standard deviations, the larger's over the smaller's.

For positions a ratio a count (one that both scales have, or that is as large as the same method's on each), and one
over all of these counts. **Over counts** the variances are averaged. The same seeds stand at every count, and their
places are nested, so a seed's luck at one count is in part its luck at the next: counts bring degrees of freedom as far
as their scores move apart (:func:`orchestrator.analysis.dispersion.components.together`).

A permutation of whole seeds between scales was tried, and isn't given: it tests what is seen, and where the rows' luck
differs between scales, as it does, it rejects too often; with three seeds it can't reach 5 %.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from orchestrator.analysis.contrast import Array
from orchestrator.analysis.dispersion.components import Component, mean_of, stacked
from orchestrator.analysis.dispersion.groups import POSITION, Group
from orchestrator.analysis.dispersion.limits import p_smaller, ratio
from orchestrator.analysis.dispersion.parts import Part, part

ALL = "all"  # instead of a count: the mean over those that both scales have


@dataclass(frozen=True)
class Ratio:
    """How much less scores spread on the larger of two scales.

    Args:
        what: what they spread over.
        family: of both backbones.
        smaller: backbone.
        larger: backbone.
        placement: of both; '' for methods.
        operations: likewise.
        variant: what tells it apart from others that agree in all of these.
        count: a method with as many parameters, a number of them, or :data:`ALL`; '' for methods and counts.
        tasks: those that both have.
        ratio: of the standard deviations, cut at 0; None where the smaller scale's is 0.
        lower: of the interval at 1 - α.
        upper: of it; infinite where the smaller scale's spread isn't shown to be above 0.
        p: of the larger one's not being smaller: one-sided; None where nothing can be said.
        note: why not, and what was compared.
    """

    what: str
    family: str
    smaller: str
    larger: str
    placement: str
    operations: str
    variant: str
    count: str
    tasks: tuple[str, ...]
    ratio: float | None
    lower: float
    upper: float
    p: float | None
    note: str


@dataclass(frozen=True)
class _Pair:
    """What a ratio is made of: a smaller and a larger scale, and their components, or the means of those of counts."""

    mine: Part
    theirs: Part
    small: Component | None
    large: Component | None
    count: str
    note: str = ""


def ratios(parts: Iterable[Part], alpha: float) -> tuple[Ratio, ...]:
    """Of neighbouring scales of each family, and of its smallest and largest.

    Args:
        parts: of all backbones.
        alpha: one less the confidence of the intervals.
    """
    alike: dict[tuple[str, str, str], dict[str, list[Part]]] = defaultdict(lambda: defaultdict(list))
    for one in parts:
        alike[one.group.what, one.group.family, one.group.setting][one.group.backbone].append(one)
    pairs: list[_Pair] = []
    for by_backbone in alike.values():
        names = sorted(by_backbone, key=lambda name: (by_backbone[name][0].group.parameters, name))
        for smaller, larger in [*pairwise(names), *([(names[0], names[-1])] if len(names) > 2 else [])]:
            pairs += _pairs(by_backbone[smaller], by_backbone[larger], alpha)
    found: dict[int, Ratio] = {}
    for fixed in (True, False):  # all at once: one by one they take seconds
        of = [i for i, pair in enumerate(pairs) if pair.small and pair.large and pair.small.fixed == fixed]
        small, large = (stacked([c for i in of if (c := getattr(pairs[i], side))]) for side in ("small", "large"))
        ends, p = ratio(large, small, alpha), p_smaller(large, small)
        found |= {i: _compared(pairs[i], ends.lower[at], ends.upper[at], p[at]) for at, i in enumerate(of)}
    return tuple(found[i] if i in found else _unknown(pair) for i, pair in enumerate(pairs))


def _pairs(smaller: Sequence[Part], larger: Sequence[Part], alpha: float) -> Iterable[_Pair]:
    compared: dict[str, tuple[Part, Part]] = {}
    for mine in smaller:
        for theirs in larger:
            if _same_count(mine.group, theirs.group):
                compared[_count(mine.group, theirs.group)] = _in_common(mine, theirs, alpha)
    for count, (mine, theirs) in compared.items():
        yield _Pair(mine, theirs, mine.found, theirs.found, count)
    usable = {count: parts for count, parts in compared.items() if all(p.found for p in parts)}
    if len(usable) > 1 and smaller[0].group.what == POSITION:
        small, large = (over_counts([parts[side] for parts in usable.values()]) for side in (0, 1))
        mine, theirs = next(iter(usable.values()))
        yield _Pair(mine, theirs, small, large, ALL, f"mean over the counts {', '.join(usable)}")


def _in_common(mine: Part, theirs: Part, alpha: float) -> tuple[Part, Part]:
    """Both spreads over the tasks, and the methods or counts, that both scales have."""
    one, other = mine.group, theirs.group
    tasks = {place[0] for place in one.runs} & {place[0] for place in other.runs}
    if one.what == POSITION and tasks == {p[0] for p in one.runs} == {p[0] for p in other.runs}:
        return mine, theirs
    kept = None if one.what == POSITION else {p[1] for p in one.runs} & {p[1] for p in other.runs}
    return part(one, alpha, tasks, kept), part(other, alpha, tasks, kept)


def _same_count(mine: Group, theirs: Group) -> bool:
    return mine.like == theirs.like if mine.like and theirs.like else mine.count == theirs.count


def _count(mine: Group, theirs: Group) -> str:
    if mine.count is None:
        return ""
    return mine.like if mine.like and mine.like == theirs.like else str(mine.count)


def _unknown(pair: _Pair) -> Ratio:
    why = "; ".join(f"{p.group.backbone}: {p.why}" for p in (pair.mine, pair.theirs) if p.why)
    return Ratio(*_names(pair), None, 0.0, math.inf, None, why)


def _names(pair: _Pair) -> tuple[str, str, str, str, str, str, str, str, tuple[str, ...]]:
    one, other = pair.mine.group, pair.theirs.group
    shared = (one.placement, one.operations, other.variant)
    return (one.what, one.family, one.backbone, other.backbone, *shared, pair.count, pair.mine.layout.tasks)


def _compared(pair: _Pair, lower: float, upper: float, p: float) -> Ratio:
    """The ratio of two components, with the limits of that of the variances."""
    assert pair.small is not None
    assert pair.large is not None
    mine, theirs = pair.mine, pair.theirs
    both = {mine.group.backbone: float(pair.small.variance), theirs.group.backbone: float(pair.large.variance)}
    small, large = both.values()
    unseen = [name for name, variance in both.items() if variance <= 0]
    notes = [pair.note] if pair.note else []
    notes += [f"over {', '.join(map(str, mine.layout.levels))}"] if mine.group.what != POSITION else []
    notes += [f"no spread is seen on {' and '.join(unseen)} beyond luck"] if unseen else []
    if mine.component != theirs.component:
        notes.append(f"{mine.component} on {mine.group.backbone}, {theirs.component} on {theirs.group.backbone}")
    value = math.sqrt(max(large, 0.0) / small) if small > 0 else None
    return Ratio(*_names(pair), value, math.sqrt(lower), math.sqrt(upper), float(p), "; ".join(notes))


def over_counts(parts: Sequence[Part]) -> Component:
    """The mean of the components of several counts of one backbone.

    Args:
        parts: each with a component; two or more.
    """
    seeds = sorted(set.intersection(*(set(p.layout.levels) for p in parts)), key=str)
    means: Array = np.array([[p.layout.scores[p.layout.levels.index(s)].mean() for s in seeds] for p in parts])
    return mean_of([p.found for p in parts if p.found], means)
