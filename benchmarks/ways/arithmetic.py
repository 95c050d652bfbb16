"""What is computed from what was measured, and what it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

Figures = Mapping[str, Any]  # of one measurement, plain JSON


@dataclass(frozen=True)
class Goal:
    """A figure and its goal; ``most``: it is to be so much at most, else at least."""

    what: str
    value: float | None
    goal: float
    most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None where nothing was measured."""
        if self.value is None:
            return None
        return self.value <= self.goal if self.most else self.value >= self.goal

    def __str__(self) -> str:
        bound = f"goal {'at most' if self.most else 'at least'} {self.goal:g}"
        if self.value is None:
            return f"{self.what}: not measured ({bound})"
        return f"{self.what}: {self.value:.3f} ({bound}: {'met' if self.met else 'missed'})"


def per_hour(trials: int, seconds: float) -> float:
    """Trials per hour."""
    return 3600 * trials / seconds


def as_many(few: int, many: int, each_s: float, once_s: float) -> float:
    """Seconds that ``many`` trials would take, of which ``few`` took ``each_s`` beside what is paid once."""
    return once_s + each_s * many / few


def ratio(one: float | None, other: float | None) -> float | None:
    """``one / other``; None where either wasn't measured."""
    return None if one is None or other is None else one / other


def median(values: Sequence[float]) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None


def spread(values: Sequence[float]) -> float | None:
    """Largest less smallest, as a share of the median; None of nothing."""
    return (max(values) - min(values)) / statistics.median(values) if values else None


def shares(rows: Sequence[Figures]) -> dict[str, float]:
    """Of worker time: the share outside training and evaluation, and that of loading alone; over all rows."""
    total = {name: sum(row[name] or 0.0 for row in rows) for name in ("load_s", "train_s", "eval_s", "wall_s")}
    outside = 1 - (total["train_s"] + total["eval_s"]) / total["wall_s"]
    return {"outside": outside, "loading": total["load_s"] / total["wall_s"]}


def ms_each(ends: Sequence[tuple[float, object]]) -> float:
    """Milliseconds a trial, without the start: from when every worker has ended one; at least half of them count.

    Args:
        ends: when each trial ended [s], and which worker had it.
    """
    first: dict[object, float] = {}
    for at, worker in sorted(ends, key=lambda end: end[0]):
        first.setdefault(worker, at)
    times = [at for at, _ in ends]
    counted = [at for at in times if at >= min(max(first.values()), statistics.median_low(times))]
    return 1000 * (max(counted) - min(counted)) / (len(counted) - 1)


def longest_gap(starts: Sequence[datetime]) -> float:
    """Seconds, the most between two starts that follow each other."""
    ordered = sorted(starts)
    return max((b - a).total_seconds() for a, b in pairwise(ordered))
