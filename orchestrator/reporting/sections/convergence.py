"""Convergence: how many steps to a share of full fine-tuning's score, by count, scale and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.analysis.convergence import Convergence
from orchestrator.analysis.paces import Pace
from orchestrator.analysis.pacing import SUMMARY
from orchestrator.reporting.charts.convergence import convergence
from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.names import spaced
from orchestrator.reporting.study import Study

ORDER = 45
TITLE = "Convergence"
Row = Mapping[str, Any]


def section(study: Study) -> Section:
    """The figure and the tables, or why there are none."""
    found = study.convergence
    rows = [summary.row() for summary in found.summaries]
    if not any(row["target"] is not None for row in rows):
        said = dict.fromkeys([*(row["notes"] for row in rows if row["notes"]), *found.notes])
        return Section(TITLE, " ".join(f"{n[0].upper()}{n[1:]}." for n in list(said)[:4]))
    lead = (
        f"Steps to {found.share:.0%} of full fine-tuning's validation score. Where position matters little for the "
        "score, it may still matter for the speed."
    )
    return Section(TITLE, lead, (*_figure(rows, found.share), _table(rows), *_paces(found)))


def _figure(rows: list[dict[str, Any]], share: float) -> Iterable[Exhibit]:
    ours = [row for row in rows if row["method"] == "apet" and row["count"] and row["target"] is not None]
    names = [tuple(row[key] for key in ("backbone", "task", "placement", "operations", "variant")) for row in ours]
    several = [row for row, name in zip(ours, names, strict=True) if names.count(name) > 1]
    ours = several or ours  # runs at one count are no curve
    telling = [key for key in ("placement", "operations", "variant") if len({row[key] for row in ours}) > 1]
    marks = [mark for row in ours if (mark := _mark(row, telling)) is not None]
    if marks:
        panels = sorted({row["task"] for row in ours})
        title = f"Steps to {share:.0%} of full fine-tuning"
        caption = (
            "Median over the seeds of each count, with the fastest and the slowest seed where all of them got there. "
            "Triangle: half of the seeds or more never did, in as many steps as it stands at. A run is judged where it "
            "was evaluated, so that steps are as fine as evaluations are."
        )
        spec = convergence(marks, panels, title)
        yield Exhibit("convergence", title, caption, tuple(SUMMARY), ours, spec)


def _mark(row: Row, telling: Iterable[str]) -> dict[str, Any] | None:
    """A row of :mod:`orchestrator.reporting.charts.convergence`; None where there is no number of steps to stand at."""
    series = ", ".join([row["backbone"], *(row[key] for key in telling if row[key])])
    shared = {
        "panel": row["task"],
        "series": series,
        "count": row["count"],
        "said": f"{row['reached']} of {row['runs']}",
    }
    if row["median"] is not None:
        ends = {"least": row["least"], "most": row["most"]} if row["least"] else {}
        return {**shared, "state": "reached", "steps": row["median"], **ends} if row["median"] > 0 else None
    return {**shared, "state": "not reached", "steps": row["within"]} if row["within"] else None


def _table(rows: list[dict[str, Any]]) -> Exhibit:
    head = (
        "Backbone",
        "Task",
        "Module",
        "Count",
        "Target",
        "Reached",
        "Median",
        "Fastest",
        "Slowest",
        "Spread",
        "Note",
    )
    lines = [
        (
            *(row["backbone"], row["task"]),
            " ".join(row[key] for key in ("method", "placement", "operations", "variant") if row[key]),
            *(spaced(row["count"]), "–" if row["target"] is None else f"{row['target']:.3f}"),
            "–" if row["reached"] is None else f"{row['reached']} of {row['runs']}",
            *(_steps(row[key]) for key in ("median", "least", "most")),
            "–" if row["spread"] is None else f"{row['spread']:.2f}",
            markup("<small>{}</small>", row["notes"] or ""),
        )
        for row in rows
    ]
    caption = (
        "In steps. Spread: over position seeds, the standard deviation of ln steps (0.2: they differ by some 20 %)."
    )
    body = table(head, lines, numeric=range(3, 10))
    return Exhibit("convergence-table", "Steps by cell", caption, tuple(SUMMARY), rows, body=body)


def _steps(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _paces(found: Convergence) -> Iterable[Exhibit]:
    if not found.paces:
        return
    rows = [pace.row() for pace in found.paces]
    lines = [(*_names(p), *_ratios(p), markup("<small>{}</small>", p.note)) for p in found.paces]
    head = ("Scales", "Module", "Tasks", "Cells", "Steps", "Spread", "Note")
    level = f"{1 - found.alpha:g}"
    caption = f"The larger scale's over the smaller's, with the interval at {level}; position seeds are the units."
    yield Exhibit(
        "convergence-scales", "Across scales", caption, tuple(rows[0]), rows, body=table(head, lines, (3, 4, 5))
    )


def _names(pace: Pace) -> tuple[str, ...]:
    return f"{pace.smaller} → {pace.larger}", pace.module, ", ".join(pace.tasks), f"{pace.cells}"


def _ratios(pace: Pace) -> Iterable[str]:
    for found in (pace.steps, pace.spread):
        yield "–" if found is None else f"{found.ratio:.2g} [{found.lower:.2g}, {found.upper:.2g}]"
