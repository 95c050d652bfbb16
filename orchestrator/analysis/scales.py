"""Thresholds over tasks, and across the scales of a family: does the high one fall, does the low one stay or rise?

**Ranges**, as the paper prints them: over the tasks of a backbone, from the lowest bracket's lower end to the highest
one's upper end.

**Trends.** A bracket's lower end is no bound: that a count wasn't shown to be above doesn't say that it is below. So
the counts are tested both ways: from the largest down until one isn't shown to be past the mark, from the smallest up
until one isn't shown to be short of it. The mark is ``margin`` below full fine-tuning for high, and ``margin`` above
both references for low, since no test shows that a gain is nothing. Both ends of both scales, in every task, share α
(Bonferroni), so that the interval of the ratio of the larger scale's threshold to the smaller's covers it at least as
often as it says, if scores don't fall with the count. Intervals by resampling seeds or by a parametric bootstrap were
measured to cover 74 to 92 % where they say 90: none is given. Nor is a sign test over tasks: with three tasks it can't
reach 5 %.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.analysis.crossing import Crossing

HALVINGS = 40  # of the search for a p-value


@dataclass(frozen=True)
class Range:
    """One threshold of a backbone over its tasks; ``lower`` and ``upper`` are None where none is resolved."""

    side: str
    backbone: str
    module: str
    lower: int | None
    upper: int | None
    resolved: int
    tasks: int

    def __str__(self) -> str:
        where = "unresolved" if self.upper is None else f"({self.lower}, {self.upper}]"
        return f"{self.backbone} · {self.module}: {self.side} {where} over {self.resolved} of {self.tasks} tasks"


@dataclass(frozen=True)
class Trend:
    """How a threshold differs between two scales of a family.

    Args:
        side: low or high.
        family: of both.
        smaller: backbone.
        larger: backbone.
        module: placement, operations and whatever else both share.
        tasks: those that both have a curve of.
        ratio: the larger's threshold over the smaller's, geometric mean over tasks; None where a curve doesn't cross.
        lower: of the interval at 1 - α; 0 where nothing bounds it.
        upper: likewise; infinite where nothing does.
        p: that it falls for high, that it rises for low: one-sided.
        verdict: falls, rises, or can't be told.
        why: what the verdict rests on, or why there is none.
    """

    side: str
    family: str
    smaller: str
    larger: str
    module: str
    tasks: tuple[str, ...]
    ratio: float | None
    lower: float
    upper: float
    p: float
    verdict: str
    why: str

    def __str__(self) -> str:
        ratio = "–" if self.ratio is None else f"{self.ratio:.2g}"
        upper = f"{self.upper:.2g}" if math.isfinite(self.upper) else "∞"
        asked = {"high": "falls", "low": "rises"}[self.side]
        return (
            f"{self.side} from {self.smaller} to {self.larger} · {self.module} ({', '.join(self.tasks)}): "
            f"{self.verdict}; × {ratio} [{self.lower:.2g}, {upper}], p that it {asked} {self.p:.2g}; {self.why}"
        )


def trends(crossings: Sequence[Crossing], alpha: float) -> tuple[Trend, ...]:
    """Of neighbouring scales of a family, and of its smallest and largest.

    Args:
        crossings: of all curves, both sides.
        alpha: one less the confidence of the intervals.
    """
    groups: dict[tuple[str, str, str], dict[str, dict[str, Crossing]]] = defaultdict(lambda: defaultdict(dict))
    sizes: dict[str, int] = {}
    for c in crossings:
        groups[c.side, c.family, c.module][c.backbone].setdefault(c.task, c)
        sizes[c.backbone] = c.parameters
    found = []
    for (side, family, module), by_backbone in groups.items():
        names = sorted(by_backbone, key=lambda name: (sizes[name], name))
        pairs = [*pairwise(names), *([(names[0], names[-1])] if len(names) > 2 else [])]
        for smaller, larger in pairs:
            tasks = tuple(sorted(by_backbone[smaller].keys() & by_backbone[larger].keys()))
            if tasks:
                both = [(by_backbone[smaller][task], by_backbone[larger][task]) for task in tasks]
                found.append(_trend(side, family, module, tasks, both, alpha))
    return tuple(found)


def _trend(
    side: str,
    family: str,
    module: str,
    tasks: tuple[str, ...],
    both: Sequence[tuple[Crossing, Crossing]],
    alpha: float,
) -> Trend:
    lower, upper = interval(both, alpha)
    estimates = [(small.at, large.at) for small, large in both]
    known = [math.log(large / small) for small, large in estimates if small and large]
    ratio = math.exp(sum(known) / len(known)) if len(known) == len(both) else None
    verdict = "falls" if upper < 1 else "rises" if lower > 1 else "can't be told"
    names = both[0][0].backbone, both[0][1].backbone
    p = _p(both, falls=side == "high")
    why = f"the interval is at {1 - alpha:g}" if verdict != "can't be told" else _why(both, lower, upper, alpha)
    return Trend(side, family, *names, module, tasks, ratio, lower, upper, p, verdict, why)


def _why(both: Sequence[tuple[Crossing, Crossing]], lower: float, upper: float, alpha: float) -> str:
    for pair in both:
        for c in pair:
            if c.reason:
                return f"{c.backbone} on {c.task}: {c.reason}"
    each = alpha / (4 * len(both))
    open_ = {c.backbone for pair in both for c in pair if c.limits(each) == (0, math.inf)}
    if open_:
        return f"no count of {', '.join(sorted(open_))} is shown to be past the mark, nor short of it"
    if not lower and math.isinf(upper):
        return "neither end is bounded: run smaller and larger counts, more seeds or more test rows"
    return "the interval holds 1: more counts between, more seeds or more test rows would narrow it"


def interval(both: Sequence[tuple[Crossing, Crossing]], alpha: float) -> tuple[float, float]:
    """Simultaneous limits of the geometric mean over tasks of the larger scale's threshold over the smaller's.

    Args:
        both: the smaller's and the larger's, a pair a task.
        alpha: the level that all limits share.
    """
    each = alpha / (4 * len(both))
    low, high = [], []
    for small, large in both:
        (small_lower, small_upper), (large_lower, large_upper) = small.limits(each), large.limits(each)
        low.append(large_lower / small_upper)  # 0 where a bound is missing
        high.append(large_upper / small_lower if small_lower else math.inf)
    return _mean(low), _mean(high)


def _mean(ratios: Sequence[float]) -> float:
    if any(r == 0 for r in ratios):
        return 0.0
    return math.inf if any(map(math.isinf, ratios)) else math.exp(sum(map(math.log, ratios)) / len(ratios))


def _p(both: Sequence[tuple[Crossing, Crossing]], falls: bool) -> float:
    """The smallest level at which a one-sided interval leaves 1 out: it has half of the limits, at twice the level."""

    def out(level: float) -> bool:
        lower, upper = interval(both, 2 * level)
        return upper < 1 if falls else lower > 1

    low, high = 0.0, 1.0
    if not out(high / 2):
        return 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if out(middle) else (middle, high)
    return high


def ranges(sides: Sequence[tuple[str, str, str, int | None, int | None]]) -> tuple[Range, ...]:
    """Over the tasks of each backbone and module.

    Args:
        sides: side, backbone, module, and the ends of the bracket of one task each.
    """
    groups: dict[tuple[str, str, str], list[tuple[int | None, int | None]]] = defaultdict(list)
    for side, backbone, module, lower, upper in sides:
        groups[side, backbone, module].append((lower, upper))
    made = []
    for (side, backbone, module), found in groups.items():
        known = [(lower or 0, upper) for lower, upper in found if upper is not None]
        lower, upper = min((ends[0] for ends in known), default=None), max((ends[1] for ends in known), default=None)
        made.append(Range(side, backbone, module, lower, upper, len(known), len(found)))
    return tuple(made)
