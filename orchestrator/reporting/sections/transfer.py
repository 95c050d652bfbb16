"""Transfer between tasks (Figure 7): matrices of relative performance, and what categories have to do with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.analysis.matrices import COLUMNS
from orchestrator.analysis.transfer import Transfer
from orchestrator.analysis.within import CONTRAST
from orchestrator.reporting.charts.transfer import transfer
from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.names import short, spaced
from orchestrator.reporting.study import Study

ORDER = 40
TITLE = "Transfer"
_NAME = ("method", "placement", "operations", "count", "variant")
Row = Mapping[str, Any]


def section(study: Study) -> Section:
    """The matrices and the contrasts, or why there are none."""
    found = study.transfer
    if not found.cells:
        return Section(TITLE, " ".join(f"{n[0].upper()}{n[1:]}." for n in found.notes))
    lead = (
        "A module that was trained on one task, scored on others that it never saw, relative to one trained there: "
        "does it work within a category of tasks, and not across?"
    )
    return Section(TITLE, lead, (_matrices(found), _contrasts(found)))


def _matrices(found: Transfer) -> Exhibit:
    rows = found.rows()
    category = {row[end]: row[f"{end}_category"] or "" for row in rows for end in ("source", "target")}
    tasks = sorted(category, key=lambda task: (category[task], task))
    telling = [key for key in _NAME if len({row[key] for row in rows}) > 1]
    marks = [_mark(row, telling) for row in rows]
    title = "Relative performance"
    caption = (
        "Score on the column's task over that of the runs trained there, which is 1 on the diagonal by definition; "
        "mean of the seeds that have both. Framed: tasks of one category. A module that learnt nothing is at floor "
        f"over reference, not at 0: hovering shows both. –: no reference.{_notes(found)}"
    )
    spec = transfer(marks, tasks, title)
    return Exhibit("transfer", title, caption, tuple(COLUMNS), rows, spec)


def _notes(found: Transfer) -> str:
    said = dict.fromkeys([*(row["notes"] for row in found.cells if row["notes"]), *found.notes])
    return "".join(f" Note: {note}." for note in said)


def _mark(row: Row, telling: Sequence[str]) -> dict[str, Any]:
    """A row of :mod:`orchestrator.reporting.charts.transfer`."""
    same = row["source_category"] is not None and row["source_category"] == row["target_category"]
    shown = {key: row[key] for key in ("source", "target", "relative", "score", "reference", "floor", "runs")}
    return {"panel": _name(row, telling), "same": same, "said": row["notes"], **shown}


def _name(row: Row, telling: Sequence[str]) -> str:
    parts = (short(row[key]) if key == "count" else row[key] for key in telling if row[key])
    return ", ".join([row["backbone"], *parts])


def _contrasts(found: Transfer) -> Exhibit:
    rows = [contrast.row() for contrast in found.contrasts]
    head = ("Backbone", "Module", "Count", "Within", "Across", "Difference", "p over tasks", "Pairs", "Note")
    body = table(head, list(_lines(rows)), numeric=(2, 3, 4, 5, 6, 7))
    caption = (
        f"Mean relative performance over pairs of different tasks, of one category and of two; the difference with its "
        f"interval at {1 - found.alpha:g} for these tasks. p: whether other tasks would show it, by dealing out the "
        "categories anew."
    )
    return Exhibit("transfer-contrast", "Within and across categories", caption, tuple(CONTRAST), rows, body=body)


def _lines(rows: Iterable[Row]) -> Iterable[tuple[str, ...]]:
    for row in rows:
        module = " ".join(row[key] for key in ("method", "placement", "operations", "variant") if row[key])
        names = (row["backbone"], module, spaced(row["count"]))
        if row["difference"] is None:
            yield (*names, "–", "–", "–", "–", "–", markup("<small>{}</small>", row["notes"] or ""))
            continue
        ends = "" if row["lower"] is None else f" [{row['lower']:.3f}, {row['upper']:.3f}]"
        values = (f"{row['within']:.3f}", f"{row['across']:.3f}", f"{row['difference']:.3f}{ends}", f"{row['p']:.2g}")
        pairs = f"{row['pairs_within']} and {row['pairs_across']}"
        yield (*names, *values, pairs, markup("<small>{}</small>", row["notes"] or ""))
