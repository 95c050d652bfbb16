"""Thresholds as a result: plain rows, their Arrow schema, and aligned text for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.curves import Curve
from orchestrator.analysis.scales import Range, Trend
from orchestrator.analysis.sequence import Threshold

if TYPE_CHECKING:
    import pyarrow as pa

WIDTH = 116  # of the text below the table
_HEAD = ("floor", "full", "low", "high", "collapsed")
COLUMNS = {
    "curve_id": "string",
    "backbone": "string",
    "family": "string",
    "scale": "string",
    "task": "string",
    "placement": "string",
    "operations": "string",
    "head": "string",
    "labels": "string",
    "variant": "string",  # what tells apart curves that agree in all of these
    "counts": "int64",  # how many counts have a result
    "count_min": "int64",
    "count_max": "int64",
    "seeds_min": "int64",  # replicates at the count that has the fewest
    "seeds_max": "int64",
    "failed": "int64",  # seeds that are left out
    "test_rows": "int64",
    "floor": "double",
    "untrained": "double",
    "full_mean": "double",
    "full_runs": "int64",
    "low_state": "string",  # bracket, below the grid, unresolved
    "low_lower": "int64",
    "low_upper": "int64",
    "low_p_lower": "double",
    "low_p_upper": "double",
    "low_reason": "string",
    "high_state": "string",
    "high_lower": "int64",
    "high_upper": "int64",
    "high_p_lower": "double",
    "high_p_upper": "double",
    "high_reason": "string",
    "collapsed": "int64",
    "collapsed_of": "int64",
    "collapsed_at_most": "double",
    "learning_rates": "string",  # chosen on validation, by count where they differ
    "notes": "string",
}


@dataclass(frozen=True)
class CurveThresholds:
    """The thresholds of one curve.

    ``collapsed`` of ``collapsed_of`` seeds (replicates) ended at or below the floor within the noise of their own test
    rows: a score not above it at α (binomial), or none; at any of the counts that high claims to equal full
    fine-tuning, at the largest count where high is unresolved. ``collapsed_at_most`` is the upper confidence bound at
    1 - α on the share of seeds that collapse: a mean over few seeds says little about it.
    """

    curve: Curve
    floor: float | None
    low: Threshold
    high: Threshold
    collapsed: int
    collapsed_of: int
    collapsed_at_most: float | None = None


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of all curves, and the rules they were found with. ``notes`` concern the whole selection.

    ``ranges`` are over the tasks of each backbone, ``trends`` between the scales of each family.
    """

    curves: tuple[CurveThresholds, ...]
    alpha: float
    margin: float
    floor: str
    notes: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    trends: tuple[Trend, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """One plain row a curve, the columns of :data:`orchestrator.analysis.table.COLUMNS`."""
        return [row(c) for c in self.curves]

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table, typed also when it is empty."""
        import pyarrow as pa

        return pa.Table.from_pylist(self.rows(), schema=schema())

    def render(self) -> str:
        """The table as aligned text, the reasons of what is unresolved below it."""
        return render(self)


def schema() -> pa.Schema:
    """The Arrow schema of the rows."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def row(found: CurveThresholds) -> dict[str, Any]:
    """One curve as a plain row with the keys of :data:`COLUMNS`; None where there is no value."""
    curve = found.curve
    tested = [p for p in curve.points if p.n]
    full = math.fsum(curve.full) / len(curve.full) if curve.full else None
    sides = {
        f"{name}_{key}": value
        for name, side in (("low", found.low), ("high", found.high))
        for key, value in (
            *(("state", side.state), ("lower", side.lower), ("upper", side.upper)),
            *(("p_lower", side.p_lower), ("p_upper", side.p_upper), ("reason", side.reason or None)),
        )
    }
    values = {
        **{k: getattr(curve, k) for k in ("curve_id", "backbone", "family", "scale", "task", "placement")},
        **{k: getattr(curve, k) for k in ("operations", "head", "labels")},
        "variant": curve.variant or None,
        "counts": len(tested),
        "count_min": tested[0].count if tested else None,
        "count_max": tested[-1].count if tested else None,
        "seeds_min": min((p.n for p in tested), default=0),
        "seeds_max": max((p.n for p in tested), default=0),
        "failed": curve.failed,
        "test_rows": curve.test_rows,
        "floor": found.floor,
        "untrained": curve.untrained,
        "full_mean": full,
        "full_runs": len(curve.full),
        **sides,
        "collapsed": found.collapsed,
        "collapsed_of": found.collapsed_of,
        "collapsed_at_most": found.collapsed_at_most,
        "learning_rates": _rates(curve),
        "notes": "; ".join(curve.notes) or None,
    }
    return {name: values[name] for name in COLUMNS}


def _rates(curve: Curve) -> str | None:
    """The learning rates that were chosen: ``0.01``, or ``0.01 at 16 64, 0.001 at 256``."""
    counts: dict[float, list[str]] = {}
    for p in curve.points:
        if p.learning_rate is not None:
            counts.setdefault(p.learning_rate, []).append(str(p.count))
    if len(counts) < 2:
        return "".join(f"{rate:g}" for rate in counts) or None
    return ", ".join(f"{rate:g} at {' '.join(at)}" for rate, at in counts.items())


def labels(found: Sequence[CurveThresholds]) -> list[str]:
    """Each curve in a few words: backbone and task, and the rest where curves differ in it."""
    curves = [c.curve for c in found]
    telling = [k for k in ("placement", "operations") if len({getattr(c, k) for c in curves}) > 1]
    return [
        " · ".join(filter(None, (c.backbone, c.task, *(getattr(c, k) for k in telling), c.variant))) for c in curves
    ]


def reasons(found: Thresholds) -> dict[str, list[str]]:
    """Why thresholds are unresolved, and what to know of a curve, with the labels of the curves it concerns."""
    said: dict[str, list[str]] = {}
    for c, label in zip(found.curves, labels(found.curves), strict=True):
        sides = [
            (f"{name} unresolved", side.reason) for name, side in (("low", c.low), ("high", c.high)) if side.reason
        ]
        for what, why in [*sides, *[("note", n) for n in c.curve.notes]]:
            said.setdefault(f"{what}: {why}", []).append(label)
    return said


def rules(found: Thresholds) -> list[str]:
    """What the numbers mean, in sentences."""
    beats = {
        "majority": "low beats the most frequent answer and the untrained module",
        "chance": "low beats chance alone: the paper's rule, which takes a lucky head for learning",
    }[found.floor]
    return [
        f"alpha {found.alpha:g}, margin {found.margin:g}, floor {found.floor}: {beats}. A threshold lies in (largest "
        "count not shown above, smallest count shown above].",
        "collapsed: seeds at or below the floor among those that equal full fine-tuning (at the largest count where "
        f"none does), and the share of seeds that may collapse, at most, with confidence {1 - found.alpha:g}.",
    ]


def render(found: Thresholds) -> str:
    """The table as aligned text, then why each unresolved threshold is so, then notes."""
    head = [*("backbone", "task", "placement", "operations", "counts", "seeds"), *_HEAD]
    text: list[str] = []
    if found.curves:
        lines = [_cells(c) for c in found.curves]
        if any(c.curve.variant for c in found.curves):
            head.append("variant")
            lines = [(*cells, c.curve.variant) for cells, c in zip(lines, found.curves, strict=True)]
        text += _aligned([head, *lines], right={4, 5, 6, 7, 10})
    for why, whose in reasons(found).items():
        text += ["", *whose, textwrap.fill(why, WIDTH, initial_indent="  ", subsequent_indent="  ")]
    text += _over_tasks(found)
    text += [f"note: {n}" for n in found.notes]
    if found.curves:
        text += ["", *(textwrap.fill(line, WIDTH) for line in rules(found))]
    return "\n".join(text)


def _over_tasks(found: Thresholds) -> list[str]:
    """Ranges where there are several tasks, and trends across scales."""
    lines = [
        ("over tasks", [str(r) for r in found.ranges if r.tasks > 1]),
        (f"across scales: the larger's threshold over the smaller's, interval at {1 - found.alpha:g}", found.trends),
    ]
    text: list[str] = []
    for title, of in lines:
        if of:
            text += ["", title]
            text += [textwrap.fill(str(one), WIDTH, initial_indent="  ", subsequent_indent="    ") for one in of]
    return text


def _cells(found: CurveThresholds) -> tuple[str, ...]:
    values = row(found)
    seeds = (
        values["seeds_max"]
        if values["seeds_min"] == values["seeds_max"]
        else "{seeds_min}–{seeds_max}".format(**values)
    )
    full = "–" if values["full_mean"] is None else "{full_mean:.3f} (n={full_runs})".format(**values)
    floor = "–" if found.floor is None else f"{found.floor:.3f}"
    names = (values[k] or "" for k in ("backbone", "task", "placement", "operations"))
    spread = f"{found.collapsed}/{found.collapsed_of}"
    spread += "" if found.collapsed_at_most is None else f" (at most {found.collapsed_at_most:.0%})"
    return (*names, str(values["counts"]), str(seeds), floor, full, str(found.low), str(found.high), spread)


def _aligned(rows: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    cells = (
        [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))] for r in rows
    )
    return ["  ".join(row).rstrip() for row in cells]
