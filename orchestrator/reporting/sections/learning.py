"""Learning curves: the validation score as training goes on, one figure a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.reporting.cells import Cell, order
from orchestrator.reporting.charts.learning import learning
from orchestrator.reporting.exhibit import Exhibit, Section
from orchestrator.reporting.names import safe, short
from orchestrator.reporting.study import Study

ORDER = 40
COLUMNS = ("task", "backbone", "method", "count", "step", "n", "mean", "min", "max")


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
        runs = [values[a] for run in cell.runs if (a := run.attempt_id) in values]
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
    backbones = list(dict.fromkeys(line.cell.backbone for line in drawn))
    named = _named(drawn)
    series = list(dict.fromkeys(name for _, name in sorted(named, key=lambda one: order(one[0].cell))))
    title = f"Learning curves on {task}"
    spec = learning(_marks(named), backbones, series, title)
    most = sorted({len(line.scores[0]) for line in drawn})
    seeds = f"{most[0]} run{'' if most == [1] else 's'}" if len(most) == 1 else f"{most[0]} to {most[-1]} runs"
    caption = (
        f"Mean over {seeds} a line, shaded from the smallest run to the largest, at steps where all of them were "
        "evaluated; the learning rate is the one chosen on validation. Of apet at most four counts are drawn; the CSV "
        "has all."
        f"{' Dashed: adjacent placement.' if any('adjacent' in line.cell.name for line in drawn) else ''}"
    )
    return Exhibit(f"learning-{safe(task)}", title, caption, COLUMNS, rows, spec, choice=("Task", task))


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


def _marks(named: Sequence[tuple[_Line, str]]) -> list[dict[str, Any]]:
    """Rows of :mod:`orchestrator.reporting.charts.learning`."""
    return [
        {"panel": line.cell.backbone, "series": name, "line": f"{number}", "count": line.cell.count, "step": step}
        | {"n": len(scores), "mean": mean, "min": min(scores), "max": max(scores)}
        for number, (line, name) in enumerate(named)
        for step, scores, mean in zip(line.steps, line.scores, line.means, strict=True)
    ]


_RANKS = {1: ("",), 2: ("smallest", "largest"), 3: ("smallest", "middle", "largest")}
_FOUR = ("smallest", "lower third", "upper third", "largest")


def _named(drawn: Sequence[_Line]) -> list[tuple[_Line, str]]:
    """Lines with their names in the legend; counts by rank where backbones have different ones."""
    groups: dict[tuple[str, str, str], list[_Line]] = defaultdict(list)
    for line in drawn:
        groups[line.cell.backbone, line.cell.name, line.cell.setting].append(line)
    counts = {line.cell.count for line in drawn if line.cell.method == "apet"}
    named = []
    for group in groups.values():
        ranks = _RANKS.get(len(group), _FOUR)
        for line, rank in zip(group, ranks, strict=True):
            named.append((line, _series(line.cell, rank if len(counts) > len(_FOUR) else None)))
    return named


def _series(cell: Cell, rank: str | None) -> str:
    """What a line is called in the legend."""
    parts = [cell.method]
    if cell.method == "apet":
        size = f"apet {short(cell.count or 0)}" if rank is None else f"apet {rank}".strip()
        parts = [size, *(["adjacent"] if "adjacent" in cell.name else [])]
    return ", ".join([*parts, *([cell.variant] if cell.variant else [])])
