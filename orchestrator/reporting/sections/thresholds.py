"""The thresholds: a drawing of the brackets, and the table with the evidence and what is unresolved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.analysis import table as columns
from orchestrator.analysis.sequence import Threshold
from orchestrator.analysis.table import CurveThresholds, Thresholds
from orchestrator.reporting.charts.thresholds import thresholds
from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.names import safe, spaced
from orchestrator.reporting.study import Study

ORDER = 20
FOLDED = 8  # reasons; more are behind a line that opens them
MOST = 24  # curves in one figure; more are a figure a task


def section(study: Study) -> Section:
    """The drawing and the table, or why there are none."""
    found = study.thresholds
    if not found.curves:
        return Section("Thresholds", "Nothing to test. " + " ".join(f"{n[0].upper()}{n[1:]}." for n in found.notes))
    lead = (
        "Low: the count above which scores are shown to leave the floor. High: the count above which they are shown "
        f"to be at most {found.margin:g} below full fine-tuning. Each is a bracket of tested counts, or unresolved."
    )
    evidence = Exhibit(
        "thresholds", "Low and high threshold", _rules(found), tuple(columns.COLUMNS), found.rows(), body=_table(found)
    )
    return Section("Thresholds", lead, (*_figures(study.curves_of_counts), evidence, *_over_tasks(found)))


def _figures(drawn: Sequence[CurveThresholds]) -> Iterable[Exhibit]:
    """One figure, or one a task where there are many curves."""
    tasks = list(dict.fromkeys(c.curve.task for c in drawn)) if len(drawn) > MOST else [None]
    for task in tasks if drawn else ():
        ours = [c for c in drawn if task in (None, c.curve.task)]
        title = "Where the thresholds lie" + (f" on {task}" if task else "")
        labels = _distinct(columns.labels(ours))
        marks = [mark for c, label in zip(ours, labels, strict=True) for mark in _marks(c, label)]
        name, choice = (f"brackets-{safe(task)}", ("Task", task)) if task else ("brackets", ("", ""))
        rows = [columns.row(c) for c in ours]
        spec = thresholds(marks, labels, title)
        yield Exhibit(name, title, _caption(ours), tuple(columns.COLUMNS), rows, spec, choice=choice)


def _distinct(labels: Sequence[str]) -> list[str]:
    """Labels of which no two are one line of the figure."""
    return [
        f"{label} ({labels[:i].count(label) + 1})" if label in labels[:i] else label for i, label in enumerate(labels)
    ]


def _marks(found: CurveThresholds, label: str) -> Iterable[dict[str, Any]]:
    """Rows of :mod:`orchestrator.reporting.charts.thresholds`."""
    tested = [p for p in found.curve.points if p.n]
    for point in tested:
        yield {"layer": "count", "curve": label, "count": point.count, "n": point.n}
    for name, side in (("low", found.low), ("high", found.high)):
        if side.upper is None:
            yield {"layer": "open", "curve": label, "side": name, "said": f"{name} unresolved", "evidence": side.reason}
        else:
            said = f"({spaced(side.lower)}, {spaced(side.upper)}]" if side.lower else f"at most {spaced(side.upper)}"
            left = side.lower or tested[0].count / 1.35
            bar = {"layer": "bar", "curve": label, "side": name, "count": left, "upper": side.upper}
            yield {**bar, "said": said, "evidence": _evidence(side)}


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


def _caption(found: Sequence[CurveThresholds]) -> str:
    if all(side.upper is None for c in found for side in (c.low, c.high)):
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
                _collapsed(c),
            )
        )
    said = columns.reasons(found)
    items = (markup("<dt>{}</dt><dd>{}</dd>", "; ".join(labels), why) for why, labels in said.items())
    reasons = f"<dl>{''.join(items)}</dl>"
    if len(said) > FOLDED:
        reasons = f"<details><summary>Why, and what to know ({len(said)})</summary>{reasons}</details>"
    return table(head, rows, numeric=(3, 4, 5, 6, 9)) + (reasons if said else "")


def _collapsed(found: CurveThresholds) -> str:
    most = "" if found.collapsed_at_most is None else f"at most {found.collapsed_at_most:.0%}"
    return markup("{}<small>{}</small>", f"{found.collapsed} of {found.collapsed_of}", most)


def _side(side: Threshold) -> str:
    if side.upper is None:
        return markup('<span class="off">{}</span>', side.state)
    return markup("<nobr>{}</nobr><small>{}</small>", _ends(side.lower, side.upper), _evidence(side))


def _evidence(side: Threshold) -> str:
    values = ", ".join(
        "p < 0.001" if p < 0.001 else f"p = {p:.2g}" for p in (side.p_upper, side.p_lower) if p is not None
    )
    return values if side.lower else f"below the grid, {values}"


_RANGES = ("backbone", "module", "side", "lower", "upper", "resolved", "tasks")
_TRENDS = (
    *("side", "family", "smaller", "larger", "module", "tasks", "ratio", "lower", "upper", "p", "verdict", "why"),
)


def _over_tasks(found: Thresholds) -> Iterable[Exhibit]:
    """The ranges over tasks, and what becomes of a threshold from scale to scale."""
    if ranges := [r for r in found.ranges if r.tasks > 1]:
        rows = [{key: getattr(r, key) for key in _RANGES} for r in ranges]
        shown = [(r.backbone, r.module, r.side, _ends(r.lower, r.upper), f"{r.resolved} of {r.tasks}") for r in ranges]
        body = table(("Backbone", "Module", "Threshold", "Range", "Tasks resolved"), shown, numeric=(4,))
        caption = (
            "From the lowest bracket's lower end to the highest one's upper end, over the tasks that are resolved."
        )
        yield Exhibit("ranges", "Thresholds over tasks", caption, _RANGES, rows, body=body)
    if found.trends:
        rows = [{key: getattr(t, key) for key in _TRENDS} | {"tasks": ", ".join(t.tasks)} for t in found.trends]
        lines: list[tuple[str, ...]] = [
            (
                *(f"{t.smaller} → {t.larger}", t.side, t.module, ", ".join(t.tasks)),
                *(_ratio(t.ratio, t.lower, t.upper), f"{t.p:.2g}", markup("{}<small>{}</small>", t.verdict, t.why)),
            )
            for t in found.trends
        ]
        head = ("Scales", "Threshold", "Module", "Tasks", "Ratio", "p", "Verdict")
        caption = (
            f"The larger scale's threshold over the smaller's, geometric mean over tasks, with its interval at "
            f"{1 - found.alpha:g}; p: one-sided, that high falls, that low rises."
        )
        yield Exhibit(
            "trends", "Thresholds across scales", caption, _TRENDS, rows, body=table(head, lines, numeric=(5,))
        )


def _ends(lower: int | None, upper: int | None) -> str:
    return "–" if upper is None else f"({spaced(lower)}, {spaced(upper)}]"


def _ratio(ratio: float | None, lower: float, upper: float) -> str:
    top = f"{upper:.2g}" if math.isfinite(upper) else "∞"
    return markup("<nobr>{}</nobr>", f"{'–' if ratio is None else f'{ratio:.2g}'} [{lower:.2g}, {top}]")
