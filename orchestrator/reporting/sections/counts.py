"""How many parameters were trained (Table 2), by backbone and method, with the counts of the study's authors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from orchestrator import authors
from orchestrator.reporting.cells import order
from orchestrator.reporting.exhibit import Exhibit, Section, table
from orchestrator.reporting.names import spaced
from orchestrator.reporting.study import Study

ORDER = 60
COLUMNS = ("backbone", "backbone_parameters", "method", "count", "share", "authors", "why")


def section(study: Study) -> Section:
    """The table, or why there is none."""
    rows = list(_rows(study))
    if not rows:
        return Section("Counts", "No module was counted yet.")
    lead = (
        "Tunable parameters, counted on the built modules; where the study's authors print a count, it stands beside."
    )
    whys = list(dict.fromkeys(f"{row['why']}." for row in rows if row["why"]))
    caption = (
        f"Share: of the backbone's own parameters. Authors: Table 2 of the study. {' '.join(whys)}".strip()
        + f" {_exactly(study)}"
    )
    return Section("Counts", lead, (Exhibit("counts", "Counts", caption, COLUMNS, rows, body=_body(rows)),))


def _rows(study: Study) -> Iterable[dict[str, Any]]:
    seen = set()
    for cell in sorted(study.cells, key=lambda c: (c.parameters, c.backbone, *order(c))):
        key = (cell.backbone, cell.name, cell.count)
        if cell.count is None or key in seen:
            continue
        seen.add(key)
        theirs = authors.COUNTS.get(cell.backbone, {}).get(cell.method) if _usual(cell.spec) else None
        differs = theirs is not None and theirs != cell.count
        yield {
            "backbone": cell.backbone,
            "backbone_parameters": cell.parameters or None,
            "method": cell.name,
            "count": cell.count,
            "share": cell.count / cell.parameters if cell.parameters else None,
            "authors": theirs,
            "why": authors.WHY.get((cell.backbone, cell.method)) if differs else None,
        }


def _usual(spec: str) -> bool:
    """Whether a method has the size of the study's."""
    method = json.loads(spec)["method"]
    study = {"lora": ("rank", 8), "adapter": ("bottleneck", 24), "prompt": ("tokens", 100)}
    key, value = study.get(method["name"], (None, None))
    return key is None or method.get(key) == value


def _exactly(study: Study) -> str:
    """Whether the counts of ``apet`` are what was asked for."""
    asked = study.trials.select(["count_requested", "count_actual"]).to_pylist()
    known = [row for row in asked if None not in row.values()]
    same = sum(row["count_requested"] == row["count_actual"] for row in known)
    return f"Of apet {same:,} of {len(known):,} modules have exactly the count that was asked for." if known else ""


def _body(rows: list[dict[str, Any]]) -> str:
    """A line a method; the counts of one curve are one line."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["backbone"], row["method"]), []).append(row)
    lines, previous = [], ""
    for (backbone, method), of in groups.items():
        counts = [row["count"] for row in of]
        several = f"{len(counts)} from {spaced(counts[0])} to {spaced(counts[-1])}"
        shares = [f"{row['share']:.2g}" if row["share"] < 1e-4 else f"{row['share']:.2%}" for row in of if row["share"]]
        theirs = ", ".join(spaced(row["authors"]) for row in of if row["authors"] is not None)
        lines.append(
            (
                "" if backbone == previous else f"{backbone} ({spaced(of[0]['backbone_parameters'])})",
                *(method, spaced(counts[0]) if len(counts) == 1 else several),
                *(" to ".join(dict.fromkeys([shares[0], shares[-1]])) if shares else "–", theirs or "–"),
            )
        )
        previous = backbone
    return table(("Backbone", "Method", "Tunable parameters", "Share", "Authors"), lines, numeric=(2, 3, 4))
