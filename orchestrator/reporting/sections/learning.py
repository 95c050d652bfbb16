"""Learning curves: the validation score as training goes on, one figure a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.reporting import draw
from orchestrator.reporting.page import Exhibit, Section
from orchestrator.reporting.study import Cell, Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 40
COLUMNS = ("task", "backbone", "method", "count", "step", "n", "mean", "min", "max")
_SHADES = ("#7ab3d8", "#4a98c9", "#1764ab", "#08306b")  # of apet's counts, small to large
_Names = list[tuple[float, int, str, str]]  # last score, last step, text, colour


@dataclass(frozen=True)
class _Line:
    cell: Cell
    steps: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]  # [steps][runs]

    @property
    def means(self) -> list[float]:
        return [sum(s) / len(s) for s in self.scores]


def section(study: Study) -> Section:
    """The figures, or why there are none."""
    lines = _lines(study)
    exhibits = tuple(
        _exhibit(task, there) for task in study.tasks if (there := [line for line in lines if line.cell.task == task])
    )
    if not exhibits:
        return Section("Learning curves", "No run was evaluated more than once while it trained.")
    lead = "Validation score as training goes on: how soon a module learns, beside how well it ends."
    return Section("Learning curves", lead, exhibits)


def _lines(study: Study) -> list[_Line]:
    """The mean curve of every cell, over the steps at which all of its runs were evaluated."""
    values: dict[str, dict[int, float]] = defaultdict(dict)
    table = study.curves.select(["attempt_id", "step", "split", "value"]).to_pylist()
    for point in table:
        if point["split"] == "validation" and point["value"] is not None:
            values[point["attempt_id"]][point["step"]] = point["value"]
    lines = []
    for cell in study.cells:
        runs = [values[a] for a in cell.attempt_ids if a in values]
        steps = sorted(set.intersection(*map(set, runs))) if runs else []
        if len(steps) > 1:
            lines.append(_Line(cell, tuple(steps), tuple(tuple(run[step] for run in runs) for step in steps)))
    return lines


def _exhibit(task: str, lines: Sequence[_Line]) -> Exhibit:
    rows: list[dict[str, Any]] = []
    for line in lines:
        c = line.cell
        names = {"task": task, "backbone": c.backbone, "method": c.label, "count": c.count}
        for step, scores, mean in zip(line.steps, line.scores, line.means, strict=True):
            rows.append({**names, "step": step, "n": len(scores), "mean": mean, "min": min(scores), "max": max(scores)})
    drawn = _drawn(lines)
    with draw.style():
        drawing = draw.svg(_figure(drawn))
    most = sorted({len(line.scores[0]) for line in drawn})
    seeds = f"{most[0]} run{'' if most == [1] else 's'}" if len(most) == 1 else f"{most[0]} to {most[-1]} runs"
    caption = (
        f"Mean over {seeds} a line, at steps where all of them were evaluated; the learning rate is the one chosen on "
        "validation. Of apet at most four counts are drawn; the CSV has all, with the smallest and largest run."
        f"{' Dashed: adjacent placement.' if any('adjacent' in line.cell.name for line in drawn) else ''}"
    )
    return Exhibit(f"learning-{task}", f"Learning curves on {task}", caption, COLUMNS, rows, drawing)


def _drawn(lines: Sequence[_Line]) -> list[_Line]:
    """All lines, but of a curve of counts only four: the smallest, the largest and two between."""
    groups: dict[tuple[str, str, str], list[_Line]] = defaultdict(list)
    for line in lines:
        groups[line.cell.backbone, line.cell.name, line.cell.setting].append(line)
    kept: list[_Line] = []
    for group in groups.values():
        last = len(group) - 1
        kept += [group[i] for i in sorted({round(last * share / 3) for share in range(4)})]
    return kept


def _figure(lines: Sequence[_Line]) -> Figure:
    from matplotlib.ticker import MaxNLocator

    backbones = list(dict.fromkeys(line.cell.backbone for line in lines))
    figure, axes = draw.grid(len(backbones))
    names: list[_Names] = []
    for i, (ax, backbone) in enumerate(zip(axes, backbones, strict=True)):
        ax.set_title(backbone)
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if i % 3 == 0:
            ax.set_ylabel("validation score")
        names.append(_panel(ax, [line for line in lines if line.cell.backbone == backbone]))
    low, high = axes[0].get_ylim()  # shared, and known only now
    for ax, of_panel in zip(axes, names, strict=True):
        heights = draw.apart([name[0] for name in of_panel], 0.045 * (high - low))
        for y, (_, last, text, colour) in zip(heights, of_panel, strict=True):
            ax.annotate(text, (last, y), (7, 0), textcoords="offset points", va="center", color=colour, size=8.5)
    return figure


def _panel(ax: Axes, lines: Sequence[_Line]) -> _Names:
    """Draw the lines; the names to write beside their ends."""
    counts = sorted({line.cell.count or 0 for line in lines if line.cell.method == "apet"})
    names: _Names = []
    for line in lines:
        c = line.cell
        if c.method == "apet":
            shade = round(counts.index(c.count or 0) * (len(_SHADES) - 1) / max(1, len(counts) - 1))
            colour, text = _SHADES[shade], f"apet {draw.short(c.count or 0)}"
        else:
            colour, text = draw.MARKS.get(c.method, (draw.INK, "o"))[0], c.method
        dashes = "--" if "adjacent" in c.name else "-"
        ax.plot(line.steps, line.means, color=colour, linewidth=1.8, linestyle=dashes, marker="o", markersize=3)
        names.append((line.means[-1], line.steps[-1], f"{text}, {c.variant}" if c.variant else text, colour))
    return names
