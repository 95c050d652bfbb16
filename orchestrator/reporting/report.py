"""The HTML report: one self-contained page, and each of its figures and tables as SVG and CSV beside it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.reporting.folder import write
from orchestrator.text import number

if TYPE_CHECKING:
    from orchestrator.reporting.exhibit import Exhibit
    from orchestrator.reporting.page import Page
    from orchestrator.analysis.sequence import Threshold
    from orchestrator.reporting.study import Study
    from trials.store.store import Store


def report(
    store: Store,
    out: str | Path,
    *,
    where: str | None = None,
    alpha: float = 0.05,
    margin: float = 0.02,
    floor: str = "majority",
) -> Path:
    """Draw a store's report into a folder, which is made if need be; what an
    earlier report left there goes, and files of the same names are replaced.

    The same rows give the same bytes. An empty store gives a page that says so.

    Args:
        store: what to draw.
        out: the folder.
        where, alpha, margin, floor: as of :func:`orchestrator.reporting.study.read`.

    Returns:
        The path of ``index.html``.

    Raises:
        ApetError: there is no store, a wrong condition, a rule out of range, or ``out`` can't be written.
    """
    written, page = _made(store, where, alpha, margin, floor)
    write(Path(out), written, page)
    return Path(out) / "index.html"


def _made(store: Store, where: str | None, alpha: float, margin: float, floor: str) -> tuple[list[Exhibit], Page]:
    from orchestrator.reporting.page import Page
    from orchestrator.reporting.sections import sections
    from orchestrator.reporting.study import read

    study = read(store, where, alpha, margin, floor)
    made = [module.section(study) for module in sections()]
    page = Page(f"Report on {study.name}", _subtitle(study, where), shlex.quote(store.uri), _points(study), made)
    return [one for section in made for one in section.exhibits], page


def _subtitle(study: Study, where: str | None) -> str:
    if not study.cells:
        return "No results yet."
    backbones = list(dict.fromkeys(c.backbone for c in sorted(study.cells, key=lambda c: c.parameters)))
    of = f" Only trials where {where}." if where else ""
    return (
        f"{number(study.trials.num_rows, 'trial')} of {', '.join(backbones)} on {', '.join(study.tasks)}.{of} "
        "Scores are test scores as fractions of 1."
    )


def _points(study: Study) -> list[str]:
    """What the thresholds say, a sentence a curve and side; what is unresolved for all is said once."""
    from orchestrator.analysis.table import labels

    found = study.thresholds.curves
    points: list[str] = []
    for above, sides in (
        ("leaves the floor", [c.low for c in found]),
        ("equals full fine-tuning", [c.high for c in found]),
    ):
        known = [(name, side) for name, side in zip(labels(found), sides, strict=True) if side.upper is not None]
        points += [f"{name} {above} {_where(side)}." for name, side in known[:6]]
        more, open_ = len(known) - 6, len(sides) - len(known)
        points += [f"{more} more: see the table of thresholds."] if more > 0 else []
        if open_:
            whose = "every curve" if not known else f"{open_} of {len(sides)} curves"
            points.append(f"Unresolved for {whose}: at which count it {above}. The reasons are below the table.")
    return points


def _where(side: Threshold) -> str:
    from orchestrator.reporting.names import spaced

    if side.lower:
        return f"between {spaced(side.lower)} and {spaced(side.upper)} tunable parameters"
    return f"at {spaced(side.upper)} tunable parameters already, the smallest count tested"
