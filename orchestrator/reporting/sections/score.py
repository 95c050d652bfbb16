"""Score against tunable-parameter count: the study's main figure, one a task, one panel a backbone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.curves import Curve, Point
from orchestrator.analysis.isotonic import LEVEL, Isotonic, isotonic
from orchestrator.analysis.table import CurveThresholds
from orchestrator.reporting import draw
from orchestrator.reporting.page import Exhibit, Section
from orchestrator.reporting.study import Cell, Panel, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 10
COLUMNS = (
    *("task", "backbone", "panel", "method", "placement", "operations", "count", "n", "mean", "sd", "min", "max"),
    *("unscored", "fit", "fit_lower", "fit_upper", "chance", "majority", "trained_differently"),
)


def section(study: Study) -> Section:
    """The figures, or why there are none."""
    exhibits = tuple(exhibit(task, panels) for task in study.tasks if (panels := study.panels(task)))
    if not exhibits:
        return Section("Score against count", "No count curve yet: the store has no scored runs of the method apet.")
    lead = (
        "Test score of randomly placed modules against how many parameters they train. Where the curve leaves the "
        "floor is the low threshold, where it meets full fine-tuning the high one."
    )
    return Section("Score against count", lead, exhibits)


def exhibit(task: str, panels: Sequence[Panel]) -> Exhibit:
    """The figure of one task."""
    fits = {c.curve.curve_id: isotonic(c.curve.points) for p in panels for c in p.curves}
    rows = [row for panel in panels for row in _rows(panel, fits)]
    with draw.style():
        drawing = draw.svg(_figure(panels, fits))
    return Exhibit(f"score-{task}", f"Score against count on {task}", _caption(panels), COLUMNS, rows, drawing)


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
        "sit. Thin line with ticks: mean of the seeds.",
        f"Thick line: isotonic regression; shaded: its pointwise {LEVEL:.0%} bootstrap band over seeds, which with few "
        f"seeds is itself uncertain. It is the picture; {_tests(panels)}.",
        "Dashed: the score of chance, and of always giving the most frequent answer. Grey band: full fine-tuning, mean "
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
        return "the brackets at the bottom and top come from the tests below"
    return "the tests below leave every threshold unresolved, so that no bracket is drawn"


def _bracketed(panels: Sequence[Panel]) -> bool:
    """Whether any threshold is resolved, and drawn."""
    return any(side.upper is not None for p in panels for c in p.curves for side in (c.low, c.high))


# The drawing.


def _figure(panels: Sequence[Panel], fits: dict[str, Isotonic]) -> Figure:
    figure, axes = draw.grid(len(panels))
    kinds = list(dict.fromkeys(_kind(c.curve) for p in panels for c in p.curves))
    colours = {kind: draw.CURVES[i % len(draw.CURVES)] for i, kind in enumerate(kinds)}
    counts = [n for p in panels for c in p.curves for n in c.curve.counts]
    counts += [cell.count for p in panels for cell, _ in p.beside if cell.count and cell.method != "full"]
    for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
        draw.counts_axis(ax, min(counts), max(counts))
        ax.set_title(panel.title)
        ax.set_xlabel("tunable parameters")
        if i % 3 == 0:
            ax.set_ylabel("test score")
        _levels(ax, panel)
        for found in panel.curves:
            _curve(ax, found.curve, fits[found.curve.curve_id], colours[_kind(found.curve)])
        for cell, differs in panel.beside:
            _beside(ax, cell, differs)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low - 0.09 * (high - low), high + 0.09 * (high - low))
    for ax, panel in zip(axes, panels, strict=True):
        for i, found in enumerate(panel.curves):
            _brackets(ax, found, colours[_kind(found.curve)], i)
    _legend(figure, colours, _bracketed(panels))
    return figure


def _kind(curve: Curve) -> str:
    """What a colour stands for; the same in every panel."""
    return f"{curve.placement}, {curve.operations}"


def _levels(ax: Axes, panel: Panel) -> None:
    """Chance and majority, one line where they are the same."""
    curve = panel.curves[0].curve
    levels = {"chance": curve.chance, "majority": curve.majority}
    known = {name: level for name, level in levels.items() if level is not None}
    if len(known) == 2 and abs(known["chance"] - known["majority"]) < 0.004:
        known = {"chance, majority": known["majority"]}
    for name, level in known.items():
        ax.axhline(level, color=draw.BAND, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        where = ax.get_yaxis_transform()
        side = "top" if name == "chance" and len(known) == 2 else "bottom"  # away from the other one's label
        ax.text(0.995, level, f"{name} {level:.2f}", transform=where, ha="right", va=side, color=draw.SOFT, size=8.5)


def _curve(ax: Axes, curve: Curve, fit: Isotonic, colour: str) -> None:
    points = [p for p in curve.points if p.scores]
    if fit.lower is not None and fit.upper is not None:
        ax.fill_between(fit.counts, fit.lower, fit.upper, color=colour, alpha=0.14, linewidth=0, zorder=2)
    ax.plot(fit.counts, fit.fit, color=colour, linewidth=2.4, zorder=4)
    means = [statistics.fmean(p.scores.values()) for p in points]
    ax.plot(
        [p.count for p in points], means, color=draw.darker(colour), linewidth=0.8, marker="_", markersize=11, zorder=5
    )
    x, y = zip(*[(p.count, score) for p in points for score in p.scores.values()], strict=True)
    ax.scatter(x, y, s=17, color=colour, alpha=0.65, edgecolor="white", linewidth=0.5, zorder=6)


def _beside(ax: Axes, cell: Cell, differs: str) -> None:
    """Another method: full fine-tuning as a band, the others at their own count."""
    colour, marker = draw.MARKS.get(cell.method, (draw.INK, "o"))
    mean, sd, star = cell.mean or 0.0, cell.sd or 0.0, "*" if differs else ""
    if cell.method == "full":
        ax.axhspan(mean - sd, mean + sd, color=draw.BAND, alpha=0.22, linewidth=0, zorder=0)
        ax.axhline(mean, color=colour, linewidth=1.1, zorder=1, linestyle="--" if differs else "-")
        text = f"full fine-tuning{star} {mean:.2f} (n = {len(cell.scores)})"
        ax.text(0.012, mean + sd, text, transform=ax.get_yaxis_transform(), va="bottom", color=colour, size=8.5)
    elif cell.count:
        ax.errorbar(
            cell.count,
            mean,
            sd,
            color=colour,
            marker=marker,
            markersize=6.5,
            markeredgecolor="white",
            capsize=2,
            zorder=8,
        )
        name, offset = f"{cell.method}{star}", (0, -9)
        ax.annotate(
            name,
            (cell.count, mean - sd),
            offset,
            textcoords="offset points",
            ha="center",
            va="top",
            color=colour,
            size=8.5,
        )


def _brackets(ax: Axes, found: CurveThresholds, colour: str, row: int) -> None:
    """Where the thresholds lie: low along the bottom, high along the top."""
    for name, side, base, step in (("low", found.low, 0.022, 0.042), ("high", found.high, 0.978, -0.042)):
        if side.upper is None:
            continue
        left = side.lower or ax.get_xlim()[0]
        y, where = base + row * step, ax.get_xaxis_transform()
        ax.plot([left, side.upper], [y, y], transform=where, color=colour, linewidth=4, solid_capstyle="butt", zorder=7)
        ax.text(side.upper * 1.12, y, name, transform=where, ha="left", va="center", color=colour, size=8.5)


def _legend(figure: Figure, colours: dict[str, str], bracketed: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    only = next(iter(colours.values()))
    one = only if len(colours) == 1 else draw.SOFT
    marks: list[Any] = [
        Line2D([], [], color=one, marker="o", linestyle="", markersize=4.5, label="one run"),
        Line2D([], [], color=draw.darker(one), linewidth=0.8, marker="_", markersize=11, label="mean"),
        Line2D([], [], color=one, linewidth=2.4, label="isotonic fit"),
        Patch(color=one, alpha=0.14, label=f"{LEVEL:.0%} band"),
    ]
    if bracketed:
        marks.append(Line2D([], [], color=one, linewidth=4, label="threshold bracket"))
    if len(colours) > 1:
        marks = [Patch(color=colour, label=kind) for kind, colour in colours.items()] + marks
    figure.legend(
        handles=marks, loc="outside upper left", ncols=min(len(marks), 7), columnspacing=1.6, handlelength=1.8
    )
