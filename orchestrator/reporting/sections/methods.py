"""The methods side by side: every run as a dot, and a table of means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.reporting.cells import SHORT, Cell, order
from orchestrator.reporting.charts.methods import methods
from orchestrator.reporting.exhibit import Exhibit, Section, table
from orchestrator.reporting.names import safe, short, spaced
from orchestrator.reporting.study import Study

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
    scored = [c for c in shown if c.scores]
    backbones = list(dict.fromkeys(c.backbone for c in scored))
    labels = list(dict.fromkeys(c.label for c in sorted(scored, key=order)))
    choice = ("Task", task)
    title = f"Methods on {task}"
    spec = methods(list(_marks(scored)), backbones, labels, title)
    caption = (
        "Every dot is one run, the bar their mean. Methods train different numbers of parameters: the count is beside "
        "the bar. With few seeds a difference of about one standard deviation may be chance."
    )
    yield Exhibit(f"methods-{safe(task)}", title, caption, COLUMNS, rows, spec, choice=choice)
    caption = (
        "Mean ± sample standard deviation over n runs, which differ in their seeds; no ± where there is one run. Of "
        "full: the mean as share of full fine-tuning's on that backbone, trained alike or not. Training: mean of a run "
        "in seconds, evaluation not included. The CSV has apet's other counts too."
    )
    body = _table(shown, cells)
    name = f"methods-table-{safe(task)}"
    yield Exhibit(name, f"Table of methods on {task}", caption, COLUMNS, rows, body=body, choice=choice)


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
                *("" if c.backbone == previous else c.backbone, c.label, spaced(c.count), score, n),
                *("–" if share is None else f"{share:.0%}", f"{c.learning_rate:g}"),
                "–" if c.train_s is None else f"{c.train_s:.1f}",
            )
        )
        previous = c.backbone
    return table(head, rows, numeric=(2, 3, 4, 5, 6, 7))


def _marks(shown: Sequence[Cell]) -> Iterable[dict[str, Any]]:
    """Rows of :mod:`orchestrator.reporting.charts.methods`."""
    for cell in shown:
        if not cell.scores:
            continue
        shared = {"panel": cell.backbone, "kind": cell.label, "method": cell.method, "count": cell.count}
        size = None if cell.method == "full" or not cell.count else short(cell.count)
        yield {**shared, "layer": "mean", "score": cell.mean, "sd": cell.sd, "n": len(cell.scores), "size": size}
        for run in cell.runs:
            seeds = {"trial": run.trial_id[:SHORT], "position_seed": run.position_seed, "train_seed": run.train_seed}
            state = None if run.state == "completed" else run.state
            if run.score is not None:
                rate = f"{cell.learning_rate:g}"
                yield {**shared, "layer": "run", "score": run.score, "rate": rate, "state": state, **seeds}
