"""The study's printed numbers beside ours, where it gives any."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.analysis.dispersion.groups import METHODS
from orchestrator.reporting import paper
from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.names import spaced
from orchestrator.reporting.study import Study

ORDER = 70
TITLE = "Against the paper"
COLUMNS = ("what", "backbone", "setting", "paper", "paper_upper", "ours", "ours_upper", "where", "note")


def section(study: Study) -> Section:
    """The table, or that there is nothing to compare."""
    known = [name for name in study.backbones if name in paper.SD_OVER_METHODS or name in paper.LOW]
    if not known:
        return Section(TITLE, f"{paper.SOURCE} gives no number for the backbones of this store.")
    rows = [*_methods(study, known), *_low(study, known)]
    lines = [
        (
            row["what"],
            row["backbone"],
            row["setting"] or "–",
            _said(row, "paper"),
            _said(row, "ours"),
            _note(row["note"]),
        )
        for row in rows
    ]
    body = table(("What", "Backbone", "Setting", "Paper", "Ours", "Note"), lines, numeric=(3, 4))
    caption = (
        f"{paper.SOURCE}, arXiv 2306.02320. Standard deviations are in points of 100, as they are seen: the paper "
        "takes no luck out. Low thresholds are ranges over tasks, ours from the tests of this page, which ask for "
        "more. Other tasks, steps or rates than the paper's give other numbers."
    )
    lead = "What the paper prints for the backbones of this store, and the same from its rows."
    return Section(TITLE, lead, (Exhibit("against-the-paper", TITLE, caption, COLUMNS, rows, body=body),))


def _row(what: str, backbone: str, known: paper.Reported) -> dict[str, Any]:
    none = dict.fromkeys(COLUMNS)
    paper_ = {"paper": known.lower, "paper_upper": known.upper, "where": known.where}
    return {**none, "what": what, "backbone": backbone, **paper_, "note": ""}


def _methods(study: Study, backbones: Iterable[str]) -> Iterable[dict[str, Any]]:
    for name in backbones:
        if name not in paper.SD_OVER_METHODS:
            continue
        row = _row("SD over methods, points", name, paper.SD_OVER_METHODS[name])
        ours = [r for r in study.dispersion.rows() if (r["what"], r["backbone"]) == (METHODS, name)]
        known = [r for r in ours if r["sd_naive"] is not None]
        if not known:
            yield row | {"note": "too few methods in the store"}
        for r in known:
            note = f"{r['levels']} on {r['tasks']}"
            yield row | {"ours": 100 * r["sd_naive"], "setting": r["variant"], "note": note}


def _low(study: Study, backbones: Iterable[str]) -> Iterable[dict[str, Any]]:
    for name in backbones:
        if name not in paper.LOW:
            continue
        row = _row("low threshold, parameters", name, paper.LOW[name])
        ours = [r for r in study.thresholds.ranges if (r.side, r.backbone) == ("low", name)]
        for r in ours:
            over = f"{r.resolved} of {r.tasks} tasks resolved"
            yield row | {"ours": r.lower, "ours_upper": r.upper, "setting": r.module, "note": over}
        if not ours:
            yield row | {"note": "no count curve in the store"}


def _note(text: str) -> str:
    return markup("<small>{}</small>", text)


def _said(row: dict[str, Any], name: str) -> str:
    lower, upper = row[name], row[f"{name}_upper"]
    if upper is None:
        return "–" if lower is None else f"{lower:.2f}"
    return f"{spaced(int(lower or 0))} to {spaced(int(upper))}"
