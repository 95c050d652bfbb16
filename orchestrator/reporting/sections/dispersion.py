"""How far scores spread over methods (Figure 2), positions (Figure 4) and counts, and whether less with scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.analysis.dispersion.groups import COUNTS, METHODS, POSITION
from orchestrator.analysis.dispersion.result import COLUMNS, RATIO_COLUMNS, Dispersion, p_text, rules
from orchestrator.reporting import paper
from orchestrator.reporting.charts.dispersion import dispersion
from orchestrator.reporting.exhibit import Exhibit, Section, markup, table
from orchestrator.reporting.names import short, spaced
from orchestrator.reporting.study import Study

ORDER = 25
TITLE = "Dispersion"
MOST = 6  # counts of a backbone in the figure
_FIGURES = {
    METHODS: ("Spread over methods", "backbone"),
    POSITION: ("Spread over positions", "tunable parameters"),
    COUNTS: ("Spread over counts", "backbone"),
}
_CAPTIONS = {
    METHODS: "Standard deviation of the methods' mean scores over tasks (Figure 2 of the study).",
    POSITION: "Standard deviation over position seeds of the mean score over tasks, at each count (Figure 4).",
    COUNTS: "Standard deviation of the mean scores at the counts that were run: does the number still matter?",
}
Row = Mapping[str, Any]


def section(study: Study) -> Section:
    """A figure a question, the table of all, the ratios across scales; or why there are none."""
    found = study.dispersion
    if not any(row["sd_naive"] is not None for row in found.rows()):
        why = " ".join(f"{n[0].upper()}{n[1:]}." for n in found.notes)
        return Section(TITLE, f"No spread can be told. {why}")
    lead = (
        "Does it matter less on larger backbones where parameters sit, which method places them, how many there are? "
        "Part of every spread that is seen is luck: of the test rows, of the seeds. It is taken out where it can be."
    )
    return Section(TITLE, lead, (*_figures(found), _table(found), *_ratios(found)))


def _figures(found: Dispersion) -> Iterable[Exhibit]:
    for what, (title, axis) in _FIGURES.items():
        rows = [row for row in found.rows() if row["what"] == what]
        drawn = _drawn(rows)
        marks = [mark for row in drawn for mark in _marks(row, _panels(drawn))]
        if marks:
            printed = any(mark["kind"] == "paper" for mark in marks)
            caption = (
                f"{_CAPTIONS[what]}{'' if drawn == rows else ' Not all counts are drawn; the CSV has them.'} Circle: "
                "as it is seen, the paper's way. Diamond: without the luck of the test rows and, where there are "
                f"several, of the train seeds; cut at 0. Lines: intervals at {1 - found.alpha:g}; those that leave the "
                f"figure reach farther.{' Cross: as the paper prints it.' if printed else ''}"
            )
            yield Exhibit(f"dispersion-{what}", title, caption, tuple(COLUMNS), rows, dispersion(marks, axis, title))


def _drawn(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, but of many counts those of the named methods, or six of each backbone where there are none."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in ("backbone", "placement", "operations", "variant")), []).append(row)
    kept = []
    for of in groups.values():
        if len(of) > MOST:
            of = [row for row in of if row["like"]] or [of[round(i * (len(of) - 1) / (MOST - 1))] for i in range(MOST)]
        kept += of
    return kept


def _panels(rows: Sequence[Row]) -> list[str]:
    """What a panel is of: family, and what else differs."""
    return [k for k in ("placement", "operations", "variant") if len({r[k] for r in rows}) > 1]


def _marks(row: Row, telling: Sequence[str]) -> Iterable[dict[str, Any]]:
    """Rows of :mod:`orchestrator.reporting.charts.dispersion`."""
    position = row["what"] == POSITION
    panel = ", ".join([row["family"], *(row[k] for k in telling if row[k])])
    x = (row["like"] or short(row["count"] or 0)) if position else row["backbone"]
    shared = {"panel": panel, "x": x, "seeds": row["seeds"], "tasks": row["tasks"], "said": row["notes"]}
    values = {"seen": "sd_naive", "without luck": "sd"}
    for kind, name in values.items():
        if row[name] is not None:
            ends = {end: _points(row[f"{name}_{end}"]) for end in ("lower", "upper")}
            yield {**shared, **_series(row, kind), "sd": _points(row[name]), **ends}
    known = paper.SD_OVER_METHODS.get(row["backbone"])
    if row["what"] == METHODS and known is not None:
        yield {**shared, **_series(row, "paper"), "sd": known.lower, "said": f"{paper.SOURCE}, {known.where}"}


def _series(row: Row, kind: str) -> dict[str, str]:
    series = row["backbone"] if row["what"] == POSITION else kind
    return {"series": series, "kind": kind, "slot": f"{series} {kind}"}


def _table(found: Dispersion) -> Exhibit:
    head = ("Backbone", "Over", "Setting", "Count", "Tasks", "Seeds", "Mean", "Seen", "Rows' luck", "Without luck")
    shown = [
        (
            *(row["backbone"], row["what"], " ".join(row[k] for k in ("placement", "operations", "variant") if row[k])),
            spaced(row["count"]) + (f" ({row['like']})" if row["like"] else ""),
            *(row["tasks"] or "–", f"{row['seeds']}", _said(row["mean"])),
            _between(row, "sd_naive"),
            "–" if row["rows_variance"] is None else f"{100 * max(row['rows_variance'], 0.0) ** 0.5:.2f}",
            _between(row, "sd"),
        )
        for row in found.rows()
    ]
    notes = "".join(f" Note: {n}." for n in found.notes)
    caption = f"In points of 100. {' '.join(rules(found))}{notes}"
    body = table(head, shown, numeric=(3, 5, 6, 7, 8, 9))
    return Exhibit("dispersion", "Standard deviations", caption, tuple(COLUMNS), found.rows(), body=body)


def _ratios(found: Dispersion) -> Iterable[Exhibit]:
    rows = found.ratio_rows()
    if not rows:
        return
    shown = []
    for row in rows:
        value = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        upper = "∞" if row["ratio_upper"] is None else f"{row['ratio_upper']:.2f}"
        known = row["p"] is not None
        lower = row["ratio_lower"] or 0.0
        setting = " ".join(row[k] for k in ("placement", "operations", "variant") if row[k])
        shown.append(
            (
                *(
                    f"{row['smaller']} → {row['larger']}",
                    row["what"],
                    setting,
                    row["count"] or "–",
                    row["tasks"] or "–",
                ),
                *(f"{value} [{lower:.2f}, {upper}]" if known else "–", p_text(row["p"])),
                markup("<small>{}</small>", row["note"] or ""),
            )
        )
    head = ("Scales", "Over", "Setting", "Count", "Tasks", "Ratio", "p", "Note")
    caption = (
        f"The larger scale's standard deviation over the smaller's, without luck, with its interval at "
        f"{1 - found.alpha:g}; p: one-sided, that it is smaller. Below 1 throughout: it matters less with scale."
    )
    body = table(head, shown, numeric=(5, 6))
    yield Exhibit("dispersion-ratios", "Across scales", caption, tuple(RATIO_COLUMNS), rows, body=body)


def _points(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _said(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _between(row: Row, name: str) -> str:
    if row[name] is None:
        return "–"
    if row[f"{name}_lower"] is None or row[f"{name}_upper"] is None:
        return _said(row[name])
    return f"{_said(row[name])} [{_said(row[f'{name}_lower'])}, {_said(row[f'{name}_upper'])}]"
