"""The methods side by side: every run as a dot, and a table of means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.reporting import draw
from orchestrator.reporting.page import Exhibit, Section, table
from orchestrator.reporting.study import Cell, Study, order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 30
COLUMNS = (
    *("task", "backbone", "method", "count", "n", "mean", "sd", "unscored", "of_full", "learning_rate", "train_s"),
    "shown",
)


def section(study: Study) -> Section:
    """The figure and the table of each task, or why there are none."""
    exhibits = tuple(e for task in study.tasks for e in _exhibits(task, [c for c in study.cells if c.task == task]))
    if not exhibits:
        return Section("Methods", "No run has a test score yet.")
    lead = (
        "The named methods at their own size, and apet at its largest count. The learning rate of each was chosen on "
        "validation; the score is the test score at the best validation step."
    )
    return Section("Methods", lead, exhibits)


def _exhibits(task: str, cells: Sequence[Cell]) -> Iterable[Exhibit]:
    shown = _shown(cells)
    if not any(c.scores for c in shown):
        return
    rows = [_row(c, cells, c in shown) for c in cells]
    with draw.style():
        drawing = draw.svg(_figure([c for c in shown if c.scores]))
    caption = (
        "Every dot is one run, the bar their mean. Methods train different numbers of parameters: the count is beside "
        "the name. With few seeds a difference of about one standard deviation may be chance."
    )
    yield Exhibit(f"methods-{task}", f"Methods on {task}", caption, COLUMNS, rows, drawing)
    caption = (
        "Mean ± sample standard deviation over n runs, which differ in their seeds; no ± where there is one run. Of "
        "full: the mean as share of full fine-tuning's on that backbone, trained alike or not. Training: mean of a run "
        "in seconds, evaluation not included. The CSV has apet's other counts too."
    )
    body = _table(shown, cells)
    yield Exhibit(f"methods-table-{task}", f"Table of methods on {task}", caption, COLUMNS, rows, body=body)


def _shown(cells: Sequence[Cell]) -> list[Cell]:
    """All cells but apet's below the largest count of their curve."""
    largest: dict[tuple[str, str, str], int] = {}
    for c in cells:
        key = (c.backbone, c.name, c.setting)
        largest[key] = max(largest.get(key, 0), c.count or 0)
    return [c for c in cells if c.method != "apet" or (c.count or 0) == largest[c.backbone, c.name, c.setting]]


def _of_full(cell: Cell, cells: Sequence[Cell]) -> float | None:
    full = [c for c in cells if c.method == "full" and c.backbone == cell.backbone and c.mean]
    alike = [c for c in full if c.setting == cell.setting] or full
    return cell.mean / alike[0].mean if alike and alike[0].mean and cell.mean is not None else None


def _row(cell: Cell, cells: Sequence[Cell], shown: bool) -> dict[str, Any]:
    names = ("task", "backbone", "count", "mean", "sd", "unscored", "learning_rate", "train_s")
    values = {name: getattr(cell, name) for name in names}
    return {**values, "method": cell.label, "n": len(cell.scores), "of_full": _of_full(cell, cells), "shown": shown}


def _table(shown: Sequence[Cell], cells: Sequence[Cell]) -> str:
    head = ("Backbone", "Method", "Tunable parameters", "Test score", "n", "Of full", "Learning rate", "Training, s")
    rows = []
    previous = ""
    for c in shown:
        score = "–" if c.mean is None else f"{c.mean:.3f}" + ("" if c.sd is None else f" ± {c.sd:.3f}")
        share = _of_full(c, cells)
        n = f"{len(c.scores)}" + (f" (+{c.unscored} without a score)" if c.unscored else "")
        rows.append(
            (
                *("" if c.backbone == previous else c.backbone, c.label, draw.spaced(c.count), score, n),
                *("–" if share is None else f"{share:.0%}", f"{c.learning_rate:g}"),
                "–" if c.train_s is None else f"{c.train_s:.1f}",
            )
        )
        previous = c.backbone
    return table(head, rows, numeric=(2, 3, 4, 5, 6, 7))


def _figure(shown: Sequence[Cell]) -> Figure:
    backbones = list(dict.fromkeys(c.backbone for c in shown))
    labels = list(dict.fromkeys(c.label for c in sorted(shown, key=order)))
    figure, axes = draw.grid(len(backbones), height=0.9 + 0.36 * len(labels))
    for ax, backbone in zip(axes, backbones, strict=True):
        ax.set_title(backbone)
        ax.set_xlabel("test score")
        ax.grid(visible=True, axis="x")
        ax.grid(visible=False, axis="y")
        ax.set_yticks(range(len(labels)), labels)
        ax.tick_params(axis="y", length=0, labelcolor=draw.INK)
        ax.spines["left"].set_visible(False)
        for cell in shown:
            if cell.backbone == backbone:
                _dots(ax, cell, labels.index(cell.label))
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    return figure


def _dots(ax: Axes, cell: Cell, row: int) -> None:
    colour = draw.MARKS.get(cell.method, (draw.CURVES[0], "o"))[0]
    mean = cell.mean or 0.0
    ax.scatter(
        cell.scores, [row] * len(cell.scores), s=24, color=colour, alpha=0.6, edgecolor="white", linewidth=0.5, zorder=3
    )
    ax.plot([mean, mean], [row - 0.27, row + 0.27], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=4)
    if cell.method != "full":
        end, text = (max(cell.scores), row), draw.short(cell.count or 0)
        ax.annotate(text, end, (8, 0), textcoords="offset points", va="center", color=draw.SOFT, size=8.5)
