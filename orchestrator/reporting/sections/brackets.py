"""The thresholds: a drawing of the brackets, and the table with the evidence and what is unresolved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.analysis import table as columns
from orchestrator.analysis.sequence import Threshold
from orchestrator.analysis.table import CurveThresholds, Thresholds
from orchestrator.reporting import draw
from orchestrator.reporting.page import Exhibit, Section, markup, table
from orchestrator.reporting.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 20
COLOURS = {"low": "#0072b2", "high": "#d55e00"}


def section(study: Study) -> Section:
    """The drawing and the table, or why there are none."""
    found = study.thresholds
    if not found.curves:
        return Section("Thresholds", "Nothing to test. " + " ".join(f"{n[0].upper()}{n[1:]}." for n in found.notes))
    lead = (
        "Low: the count above which scores are shown to leave the floor. High: the count above which they are shown "
        f"to be at most {found.margin:g} below full fine-tuning. Each is a bracket of tested counts, or unresolved."
    )
    names, rows = tuple(columns.COLUMNS), found.rows()
    exhibits = [Exhibit("thresholds", "Low and high threshold", _rules(found), names, rows, body=_table(found))]
    drawn = [c for c in found.curves if any(p.n for p in c.curve.points)]
    if drawn:
        with draw.style():
            drawing = draw.svg(_figure(drawn))
        exhibits.insert(0, Exhibit("brackets", "Where the thresholds lie", _caption(found), names, rows, drawing))
    return Section("Thresholds", lead, tuple(exhibits))


def _rules(found: Thresholds) -> str:
    floor = {
        "majority": "to beat the most frequent test label as a constant answer, and the untrained module",
        "chance": "to beat chance alone, as in the paper",
    }[found.floor]
    notes = "".join(f" Note: {n}." for n in found.notes)
    return (
        f"One-sided tests at α = {found.alpha:g} from the largest count down, each only if the one before succeeded, "
        f"so that no correction is needed. Low has {floor}. p: of the two counts that bound the bracket, the "
        "smallest shown above first. Collapsed: seeds that ended at or below the floor (the larger of what low has "
        "to beat) within the noise of their test rows, or diverged without a score, among the counts that equal full "
        "fine-tuning (at the largest count where high is unresolved); at most: the upper confidence bound on their "
        f"share. Runs that diverged count with the score they kept.{notes}"
    )


def _caption(found: Thresholds) -> str:
    if all(side.upper is None for c in found.curves for side in (c.low, c.high)):
        return "Grey: the tested counts, a tick each. Every threshold is unresolved, for the reason below the table."
    return (
        "Grey: the tested counts, a tick each. A threshold lies somewhere inside its bar, up to and including "
        "its right end; how wide it is depends on the counts chosen. A bar that starts at the left edge means that "
        "every tested count is above. No bar: unresolved, for the reason below the table."
    )


def _table(found: Thresholds) -> str:
    head = ("Backbone", "Task", "Module", "Counts", "Seeds", "Floor", "Full fine-tuning", "Low", "High", "Collapsed")
    rows = []
    for c in found.curves:
        values = columns.row(c)
        seeds = {values["seeds_min"], values["seeds_max"]}
        module = ", ".join(filter(None, (c.curve.placement, c.curve.operations, c.curve.variant)))
        full = "–" if values["full_mean"] is None else f"{values['full_mean']:.3f} (n = {values['full_runs']})"
        rows.append(
            (
                *(c.curve.backbone, c.curve.task, module),
                *(str(values["counts"]), "–".join(map(str, sorted(seeds)))),
                *("–" if c.floor is None else f"{c.floor:.3f}", full, _side(c.low), _side(c.high)),
                f"{c.collapsed} of {c.collapsed_of}"
                + ("" if c.collapsed_at_most is None else f", at most {c.collapsed_at_most:.0%}"),
            )
        )
    said = columns.reasons(found)
    items = (markup("<dt>{}</dt><dd>{}</dd>", "; ".join(labels), why) for why, labels in said.items())
    return table(head, rows, numeric=(3, 4, 5, 6, 9)) + (f"<dl>{''.join(items)}</dl>" if said else "")


def _side(side: Threshold) -> str:
    if side.upper is None:
        return markup('<span class="off">{}</span>', side.state)
    values = ", ".join(
        "p < 0.001" if p < 0.001 else f"p = {p:.2g}" for p in (side.p_upper, side.p_lower) if p is not None
    )
    bracket = f"({draw.spaced(side.lower)}, {draw.spaced(side.upper)}]"
    return markup("<nobr>{}</nobr><small>{}</small>", bracket, values if side.lower else f"below the grid, {values}")


def _figure(found: Sequence[CurveThresholds]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(11.0, 0.95 + 0.62 * len(found)), layout="constrained")
    ax = figure.subplots()
    counts = [n for c in found for n in c.curve.counts]
    draw.counts_axis(ax, min(counts), max(counts))
    ax.set_xlabel("tunable parameters")
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.set_yticks(range(len(found)), columns.labels(found))
    ax.tick_params(axis="y", length=0, labelcolor=draw.INK)
    ax.spines["left"].set_visible(False)
    for row, c in enumerate(found):
        _bars(ax, row, c)
    drawn = {"low": [c.low for c in found], "high": [c.high for c in found]}
    marks = [
        Patch(color=COLOURS[name], label=f"{name} threshold")
        for name, sides in drawn.items()
        if any(side.upper is not None for side in sides)
    ]
    if marks:
        figure.legend(handles=marks, loc="outside upper left", ncols=2)
    return figure


def _bars(ax: Axes, row: int, found: CurveThresholds) -> None:
    tested = [p.count for p in found.curve.points if p.n]
    ax.plot(tested, [row] * len(tested), color="#b9c1cb", linewidth=1, marker="|", markersize=7, zorder=1)
    for (name, colour), side, offset in zip(COLOURS.items(), (found.low, found.high), (-0.2, 0.2), strict=True):
        if side.upper is None:
            text, offset = f"{name} unresolved", 1.4 * offset
            ax.text(
                1.0,
                row + offset,
                text,
                transform=ax.get_yaxis_transform(),
                ha="right",
                va="center",
                color=draw.SOFT,
                size=8.5,
            )
            continue
        left = side.lower or ax.get_xlim()[0]
        ax.plot([left, side.upper], [row + offset] * 2, color=colour, linewidth=7, solid_capstyle="butt", zorder=2)
