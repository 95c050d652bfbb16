"""How soon a run reaches a score on validation: the first evaluation at which it does, or that it never did.

A validation score is known at evaluations alone. Between two of them nothing is interpolated: it may jump, and the
first evaluation has none before it. So a run reaches the score in (``after``, ``steps``]. One that doesn't is censored:
it would have taken more steps than it was given, which is no missing value.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

TINY = 1e-9  # differences of scores below this are rounding
Trace = Sequence[tuple[int, float]]  # (step, validation score), steps ascending


@dataclass(frozen=True)
class Reached:
    """When a run reached a score.

    Args:
        steps: the first evaluation at which it had; None: at none.
        after: the last evaluation at which it hadn't yet, 0 where there was none.
    """

    steps: int | None
    after: int


def first(trace: Trace, target: float) -> Reached:
    """When a run first scored a target.

    >>> first([(20, 0.5), (40, 0.8), (60, 0.7)], 0.75), first([(20, 0.5)], 0.75)
    (Reached(steps=40, after=20), Reached(steps=None, after=20))
    """
    after = 0
    for step, score in trace:
        if score >= target - TINY:
            return Reached(step, after)
        after = step
    return Reached(None, after)


def traces(curves: pa.Table) -> dict[str, list[tuple[int, float]]]:
    """The validation scores of every attempt, by its id.

    Args:
        curves: rows of the ``curves`` view, in any order.
    """
    from trials.store import arrays

    points = curves.filter(arrays.among(curves["split"], ["validation"]))
    found: dict[str, dict[int, float]] = defaultdict(dict)
    columns = (points[name].to_pylist() for name in ("attempt_id", "step", "value"))
    for attempt, step, value in zip(*columns, strict=True):
        if value is not None:
            found[attempt][step] = value
    return {attempt: sorted(points.items()) for attempt, points in found.items()}


def median(steps: Sequence[int | None]) -> float | None:
    """The median of steps of which None are more than any; None where it is one of these, or of nothing.

    >>> median([40, None, 20]), median([None, 20]), median([20, 40])
    (40.0, None, 30.0)
    """
    if not steps:
        return None
    known = sorted(math.inf if s is None else float(s) for s in steps)
    middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
    return middle if math.isfinite(middle) else None
