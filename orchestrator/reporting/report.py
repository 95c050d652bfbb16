"""The HTML report: one self-contained page, and each of its figures and tables as SVG, PNG and CSV beside it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.text import number

if TYPE_CHECKING:
    from orchestrator.analysis.sequence import Threshold
    from orchestrator.reporting.page import Page
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
    rules = {"where": where, "alpha": alpha, "margin": margin, "floor": floor}
    return Writer(store, Path(out), rules).write()


@dataclass
class Writer:
    """Writes the report of a store, once or again and again: a figure that hasn't changed isn't drawn again.

    Args:
        store: what to draw.
        out: the folder.
        rules: the keywords of :func:`report`.
        page: as written last.
    """

    store: Store
    out: Path
    rules: Mapping[str, Any]
    page: Page | None = None
    _drawn: dict[str, str] = field(default_factory=dict)  # name of a figure → its specification

    def write(self, written: str = "") -> Path:
        """Write it; ``written`` is when, where it is written again while a sweep runs."""
        from orchestrator.reporting.charts.theme import to_json, unchecked
        from orchestrator.reporting.drawings import Drawings
        from orchestrator.reporting.folder import PAGE, write
        from orchestrator.reporting.page import Page
        from orchestrator.reporting.sections import sections
        from orchestrator.reporting.study import read

        study = read(self.store, **self.rules)
        made, tables, specs = [], [], {}
        with Drawings() as drawings, unchecked():
            for module in sections():
                made.append(module.section(study))
                for one in made[-1].exhibits:
                    tables.append((f"{one.name}.csv", one.csv.encode()))
                    if one.spec is not None:
                        specs[one.name] = to_json(one.spec)
                        if self._drawn.get(one.name) != specs[one.name]:
                            drawings.add(one.name, one.spec)
            where = self.rules.get("where")
            title, store = f"Report on {study.name}", shlex.quote(_public(self.store.uri))
            page = Page(title, _subtitle(study, where), store, _points(study), made, written)
            text = page.html()
            kept = [f"{name}.{end}" for name in specs for end in ("svg", "png") if self._drawn.get(name) == specs[name]]
            write(self.out, chain(tables, drawings.files()), text, kept)
        self.page, self._drawn = page, specs
        return self.out / PAGE

    def close(self) -> None:
        """The page says no more that it is being written again."""
        from orchestrator.reporting.folder import PAGE, put

        if self.page is not None and self.page.written:
            put(self.out / PAGE, replace(self.page, written="").html().encode())


def _public(uri: str) -> str:
    """A store's URI without what only its owner may know."""
    return re.sub(r"//[^/@]*@", "//", uri.partition("?")[0])


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

    found = study.curves_of_counts or study.thresholds.curves
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
