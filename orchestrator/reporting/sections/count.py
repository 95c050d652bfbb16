"""Score against tunable-parameter count: the study's main figure, one a task, one panel a backbone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.analysis.curves import Curve, Point
from orchestrator.analysis.isotonic import LEVEL, Isotonic, isotonic
from orchestrator.reporting.cells import SHORT, Cell
from orchestrator.reporting.charts.count import count
from orchestrator.reporting.exhibit import Exhibit, Section
from orchestrator.reporting.names import safe, spaced
from orchestrator.reporting.study import Panel, Study

ORDER = 10
COLUMNS = (
    *("task", "backbone", "panel", "method", "placement", "operations", "count", "n", "mean", "sd", "min", "max"),
    *("unscored", "fit", "fit_lower", "fit_upper", "chance", "majority", "trained_differently"),
)


def section(study: Study) -> Section:
    """The figures, or why there are none."""
    exhibits = tuple(exhibit(task, panels, study) for task in study.tasks if (panels := study.panels(task)))
    if not exhibits:
        return Section("Score against count", "No count curve yet: the store has no scored runs of the method apet.")
    lead = (
        "Test score of randomly placed modules against how many parameters they train. Where the curve leaves the "
        "floor is the low threshold, where it meets full fine-tuning the high one."
    )
    return Section("Score against count", lead, exhibits)


def exhibit(task: str, panels: Sequence[Panel], study: Study) -> Exhibit:
    """The figure of one task."""
    fits = {c.curve.curve_id: isotonic(c.curve.points) for p in panels for c in p.curves}
    rows = [row for panel in panels for row in _rows(panel, fits)]
    title = f"Score against count on {task}"
    marks = [mark for panel in panels for mark in _marks(panel, fits, study)]
    spec = count(marks, [p.title for p in panels], title)
    return Exhibit(f"score-{safe(task)}", title, _caption(panels), COLUMNS, rows, spec, choice=("Task", task))


# The numbers.


def _rows(panel: Panel, fits: dict[str, Isotonic]) -> Iterable[dict[str, Any]]:
    levels = {"chance": panel.curves[0].curve.chance, "majority": panel.curves[0].curve.majority}
    shared = {"task": panel.task, "backbone": panel.backbone, "panel": panel.title, **levels}
    empty = dict.fromkeys(("placement", "operations", "fit", "fit_lower", "fit_upper"))
    for found in panel.curves:
        curve, fit = found.curve, fits[found.curve.curve_id]
        for point in curve.points:
            named = {"method": "apet", "placement": curve.placement, "operations": curve.operations}
            yield {**shared, **named, **_point(point), **_fitted(fit, point.count), "trained_differently": None}
    for cell, differs in panel.beside:
        numbers = _spread(cell.scores) | {"count": cell.count, "unscored": cell.unscored}
        yield {**shared, **empty, **numbers, "method": cell.name, "trained_differently": differs or None}


def _point(point: Point) -> dict[str, Any]:
    return {"count": point.count, "unscored": point.unscored, **_spread(tuple(point.scores.values()))}


def _spread(scores: Sequence[float]) -> dict[str, Any]:
    return {
        "n": len(scores),
        "mean": statistics.fmean(scores) if scores else None,
        "sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "min": min(scores, default=None),
        "max": max(scores, default=None),
    }


def _fitted(fit: Isotonic, count: int) -> dict[str, float | None]:
    names = {"fit": fit.fit, "fit_lower": fit.lower, "fit_upper": fit.upper}
    at = fit.counts.index(count) if count in fit.counts else None
    return {name: None if at is None or values is None else values[at] for name, values in names.items()}


# The words.


def _caption(panels: Sequence[Panel]) -> str:
    curves = [c.curve for p in panels for c in p.curves]
    seeds = sorted({p.n for c in curves for p in c.points if p.n})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    parts = [
        f"Every dot is one run; {each} seed{'' if seeds == [1] else 's'} a count, which differ in where the parameters "
        "sit; a click copies the command that shows it. Short bar: mean of the seeds.",
        f"Line: isotonic regression; shaded: its pointwise {LEVEL:.0%} bootstrap band over seeds, which with few "
        f"seeds is itself uncertain. It is the picture; {_tests(panels)}.",
        "Dashed: the score of chance, and of always giving the most frequent answer. Diamonds: other methods at their "
        "own count, mean ± one standard deviation. Grey band: full fine-tuning, mean "
        "± one standard deviation.",
        "Every panel has the same axes.",
    ]
    unscored = sum(p.unscored for c in curves for p in c.points)
    if unscored:
        parts.append(f"Not drawn, but counted by the tests: {unscored} diverged before any score.")
    odd = sorted({f"{cell.name} ({how})" for p in panels for cell, how in p.beside if how})
    if odd:
        parts.append(f"Trained differently from the curve, so not a like-for-like comparison: {'; '.join(odd)}.")
    return " ".join(parts)


def _tests(panels: Sequence[Panel]) -> str:
    if _bracketed(panels):
        return "the brackets along the lines come from the tests below"
    return "the tests below leave every threshold unresolved, so that no bracket is drawn"


def _bracketed(panels: Sequence[Panel]) -> bool:
    """Whether any threshold is resolved, and drawn."""
    return any(side.upper is not None for p in panels for c in p.curves for side in (c.low, c.high))


# The marks.


def _marks(panel: Panel, fits: Mapping[str, Isotonic], study: Study) -> Iterable[dict[str, Any]]:
    """Rows of :mod:`orchestrator.reporting.charts.count`."""
    for mark in (*_levels(panel), *(_method(c, differs) for c, differs in panel.beside)):
        if mark:
            yield {"panel": panel.title, **mark}
    for found in panel.curves:
        kind, fit = _kind(found.curve), fits[found.curve.curve_id]
        for mark in (*_fit(fit), *_means(found.curve), *_runs(study.of_curve(found.curve.curve_id))):
            yield {"panel": panel.title, "kind": kind, **mark}
        for name, side in (("low", found.low), ("high", found.high)):
            if side.upper is not None:
                said = f"{name}: in ({spaced(side.lower)}, {spaced(side.upper)}]"
                said = said if side.lower else f"{name}: at {spaced(side.upper)} already, the smallest count"
                for mark in _bracket(fit, side.lower, side.upper):
                    yield {"panel": panel.title, "kind": kind, "side": name, "said": said, **mark}


def _kind(curve: Curve) -> str:
    """What a colour stands for; the same in every panel."""
    return f"{curve.placement}, {curve.operations}"


def _levels(panel: Panel) -> Iterable[dict[str, Any]]:
    """Chance and majority, one line where they are the same."""
    curve = panel.curves[0].curve
    levels = {"chance": curve.chance, "majority": curve.majority}
    known = {name: level for name, level in levels.items() if level is not None}
    if len(known) == 2 and abs(known["chance"] - known["majority"]) < 0.004:
        known = {"chance, majority": known["majority"]}
    for name, level in known.items():
        below = name == "chance" and len(known) == 2  # away from the other one's label
        yield {"layer": "level", "score": level, "label": f"{name} {level:.2f}", "below": below}


def _method(cell: Cell, differs: str) -> dict[str, Any] | None:
    """Another method: full fine-tuning as a level, the others at their own count."""
    mean, sd = cell.mean or 0.0, cell.sd or 0.0
    star = "*" if differs else ""
    shared = {"score": mean, "lower": mean - sd, "upper": mean + sd, "sd": cell.sd, "n": len(cell.scores)}
    if cell.method == "full":
        return {"layer": "full", "label": f"full fine-tuning{star} {mean:.2f}", **shared}
    return {"layer": "method", "label": f"{cell.method}{star}", "count": cell.count, **shared} if cell.count else None


def _fit(fit: Isotonic) -> Iterable[dict[str, Any]]:
    none: tuple[None, ...] = (None,) * len(fit.counts)
    for n, value, lower, upper in zip(fit.counts, fit.fit, fit.lower or none, fit.upper or none, strict=True):
        yield {"layer": "fit", "count": n, "fit": value, "fit_lower": lower, "fit_upper": upper}


def _means(curve: Curve) -> Iterable[dict[str, Any]]:
    for point in curve.points:
        if point.scores:
            numbers = _spread(tuple(point.scores.values()))
            yield {"layer": "mean", "count": point.count, "score": numbers["mean"], "sd": numbers["sd"], "n": point.n}


def _runs(cells: Iterable[Cell]) -> Iterable[dict[str, Any]]:
    for cell in cells:
        for run in cell.runs:
            if run.score is not None:
                names = {
                    "trial": run.trial_id[:SHORT],
                    "position_seed": run.position_seed,
                    "train_seed": run.train_seed,
                }
                shared = {"layer": "run", "count": cell.count, "score": run.score, "rate": f"{cell.learning_rate:g}"}
                yield {**shared, **names, "state": None if run.state == "completed" else run.state}


def _bracket(fit: Isotonic, lower: int | None, upper: int) -> Iterable[dict[str, Any]]:
    """Along the fit, between the two counts on a logarithmic scale."""
    ends = [n for n in (lower, upper) if n]
    inside = sorted({*ends, *(n for n in fit.counts if ends[0] <= n <= ends[-1])})
    heights = np.interp(np.log(inside), np.log(fit.counts), fit.fit)
    for n, height in zip(inside, map(float, heights), strict=True):
        yield {"layer": "bracket", "count": n, "score": height}
        if n in ends:
            yield {"layer": "end", "count": n, "score": height}
    middle = float(np.exp(np.mean(np.log(ends))))
    at = float(np.interp(np.log(middle), np.log(fit.counts), fit.fit))
    yield {"layer": "side", "count": middle, "score": at}
