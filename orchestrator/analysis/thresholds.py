"""The thresholds of a store's count curves: low and high as brackets with their evidence, or unresolved and why.

What is tested, and how runs without a score are treated, is in :mod:`orchestrator.analysis.judging`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.analysis import selection
from orchestrator.analysis.answers import Replicate
from orchestrator.analysis.asked import asked, check_level
from orchestrator.analysis.contrast import TINY
from orchestrator.analysis.crossing import crossings, module
from orchestrator.analysis.curves import Curve, Point, curves
from orchestrator.analysis.failed import by_class
from orchestrator.analysis.judging import high_threshold, low_threshold
from orchestrator.analysis.material import Material, material
from orchestrator.analysis.scales import Range, ranges, trends
from orchestrator.analysis.table import CurveThresholds, Thresholds
from orchestrator.text import number
from trials.errors import ApetError, choices

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store

FLOORS = ("majority", "chance")


def thresholds(
    store: Store | pa.Table,
    *,
    where: str | None = None,
    alpha: float = 0.05,
    margin: float = 0.02,
    floor: str = "majority",
    trained_heads: bool = False,
) -> Thresholds:
    """Low and high threshold of every count curve of a store.

    Args:
        store: a store, or the table that :func:`orchestrator.analysis.failed.with_failed` makes of its ``trials``.
        where: SQL condition over those columns; it chooses the curves' rows. Full fine-tuning is looked for in the
            whole store, so that a condition on placement or count doesn't lose the reference.
        alpha: level of each one-sided test.
        margin: by how much a score may be below full fine-tuning and still equal it, as a fraction.
        floor: what low is to beat. ``majority``: the most frequent test label as a constant answer, and the untrained
            module; ``chance``: chance alone, which is the paper's rule.
        trained_heads: let rows with a trained head enter, whose parameters are not in the count.

    Raises:
        ApetError: alpha, margin or floor out of range, or a condition that SQL refuses.
    """
    check_level(alpha)
    if not 0 < margin < 1:
        raise ApetError(f"margin {margin}: a difference of scores is between 0 and 1, both excluded; 0.02 is 2 points")
    if floor not in FLOORS:
        raise ApetError(f"floor {floor!r}: {choices(floor, FLOORS)}")
    every, chosen, note = asked(store, where)
    found = curves(chosen, full=every, trained_heads=trained_heads)
    materials = [material(curve, floor) for curve in found]
    judged = tuple(_judge(c, read, alpha, margin, floor) for c, read in zip(found, materials, strict=True))
    notes = (note,) if note else _notes(chosen, judged, trained_heads)
    scales: dict[tuple[str, str], set[str]] = defaultdict(set)
    for curve in found:
        scales[curve.family, module(curve)].add(curve.backbone)
    several = [(c, m) for c, m in zip(found, materials, strict=True) if len(scales[c.family, module(c)]) > 1]
    crossed = [one for curve, read in several for one in crossings(curve, read, margin)]
    return Thresholds(judged, alpha, margin, floor, notes, _ranges(judged), trends(crossed, alpha))


def _ranges(judged: Sequence[CurveThresholds]) -> tuple[Range, ...]:
    """Both thresholds of each backbone over its tasks."""
    sides = [(name, one.curve, side) for one in judged for name, side in (("low", one.low), ("high", one.high))]
    return ranges([(name, c.backbone, module(c), side.lower, side.upper) for name, c, side in sides])


def _notes(table: pa.Table, found: tuple[CurveThresholds, ...], trained_heads: bool) -> tuple[str, ...]:
    methods, heads = table["method"].to_pylist(), table["head"].to_pylist()
    trained = sum(m == "apet" and h == "trained" for m, h in zip(methods, heads, strict=True))
    notes = []
    if trained and not trained_heads:
        notes.append(f"{trained} rows with a trained head left out: its parameters are not in the count")
    rows = table.select(["method", "head", "state", "failure_class"]).to_pylist()
    failed = [
        row
        for row in rows
        if row["state"] == "failed"
        and row["method"] in ("apet", "full")
        and (trained_heads or row["head"] != "trained")
    ]
    if failed:
        full = sum(row["method"] == "full" for row in failed)
        whose = f"{len(failed) - full} of count curves, {full} of full fine-tuning"
        notes.append(f"{number(len(failed), 'failed trial')} left out ({whose}): {by_class(failed)}")
    if edges := selection.note(table):
        notes.append(edges)
    if not found:
        notes.append("no count curve: run a sweep with the method apet at several counts and position seeds")
    return tuple(notes)


def _judge(curve: Curve, found: Material, alpha: float, margin: float, rule: str) -> CurveThresholds:
    low = low_threshold(curve, found, rule, alpha)
    high = high_threshold(curve, found, rule, alpha, margin)
    floor = curve.floor(rule)
    beside = [p for p in found.points if high.upper is not None and p.count >= high.upper] or found.points[-1:]
    collapsed = {name for p in beside for name in _collapsed(p, floor, alpha, curve.test_rows)}
    seeds = {name for p in beside for name in p.replicates}
    bound = share_at_most(len(collapsed), len(seeds), alpha)
    return CurveThresholds(curve, floor, low, high, len(collapsed), len(seeds), bound)


def _collapsed(point: Point, floor: float | None, alpha: float, test_rows: int | None) -> set[Replicate]:
    """Replicates at or below the floor within the binomial noise of ``test_rows`` rows."""
    from scipy.special import ndtri

    level = floor or 0.0
    noise = math.sqrt(level * (1 - level) / test_rows) if test_rows else 0.0
    bar = level + float(ndtri(1 - alpha)) * noise + TINY
    return {*point.lost, *(name for name, score in point.scores.items() if score <= bar)}


def share_at_most(hits: int, of: int, alpha: float) -> float | None:
    """One-sided upper confidence bound on a share (Clopper and Pearson, Biometrika 26, 1934); None of none.

    >>> round(share_at_most(0, 3, 0.05), 3), share_at_most(3, 3, 0.05)
    (0.632, 1.0)
    """
    from scipy.special import betaincinv

    if not of:
        return None
    return 1.0 if hits == of else float(betaincinv(hits + 1, of - hits, 1 - alpha))
