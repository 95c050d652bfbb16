"""What a report is drawn from: a store's rows grouped into cells and panels, once for all sections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from orchestrator.analysis.convergence import Convergence, convergence
from orchestrator.analysis.dispersion.dispersion import dispersion
from orchestrator.analysis.dispersion.result import Dispersion
from orchestrator.analysis.failed import with_failed
from orchestrator.analysis.specs import differences
from orchestrator.analysis.table import CurveThresholds, Thresholds
from orchestrator.analysis.thresholds import thresholds
from orchestrator.analysis.transfer import Transfer, transfer
from orchestrator.reporting.cells import Cell, cells
from trials.errors import ApetError

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store


@dataclass(frozen=True)
class Panel:
    """One backbone on one task under one setting: count curves, and the other methods beside them.

    ``beside`` pairs a cell with what its training differs in ('' where it is trained alike).
    """

    backbone: str
    task: str
    title: str
    curves: tuple[CurveThresholds, ...]
    beside: tuple[tuple[Cell, str], ...]


@dataclass(frozen=True)
class Study:
    """A store as the sections read it.

    Args:
        name: of the store.
        attempts, trials, curves: its tables, those of the chosen trials alone.
        shown, every_curve: the rows and learning curves that analyses take, of the whole store.
        where: the condition that chose the trials.
        thresholds: of the chosen trials.
        cells: of them.
        sweeps: the sweeps that were run into the store, as they were: name, where it lies, text.
    """

    name: str
    attempts: pa.Table
    trials: pa.Table
    curves: pa.Table
    shown: pa.Table
    every_curve: pa.Table
    where: str | None
    thresholds: Thresholds
    cells: tuple[Cell, ...]
    sweeps: tuple[tuple[str, str, str], ...] = ()

    @cached_property
    def dispersion(self) -> Dispersion:
        """How far scores spread over positions, methods and counts."""
        return dispersion(self.shown, where=self.where, alpha=self.thresholds.alpha)

    @cached_property
    def transfer(self) -> Transfer:
        """How well modules do on other tasks than theirs."""
        return transfer(self.shown, where=self.where, alpha=self.thresholds.alpha)

    @cached_property
    def convergence(self) -> Convergence:
        """How many steps runs take to a share of full fine-tuning's score."""
        return convergence(self.shown, self.every_curve, where=self.where, alpha=self.thresholds.alpha)

    @property
    def backbones(self) -> tuple[str, ...]:
        """Those of its trials, small ones first."""
        found = self.trials.select(["backbone_parameters", "backbone"]).to_pylist()
        sizes = {row["backbone"]: row["backbone_parameters"] or 0 for row in found}
        return tuple(sorted(sizes, key=lambda name: (sizes[name], name)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks with a result, by name."""
        return tuple(sorted({c.task for c in self.cells}))

    @cached_property
    def curves_of_counts(self) -> tuple[CurveThresholds, ...]:
        """Those with a score; where any has several counts, only such: runs at one count are no curve."""
        scored = [c for c in self.thresholds.curves if any(p.scores for p in c.curve.points)]
        several = [c for c in scored if sum(bool(p.scores) for p in c.curve.points) > 1]
        return tuple(several or scored)

    def of_curve(self, curve_id: str) -> list[Cell]:
        """The cells of a count curve, small counts first."""
        return self._by_curve[curve_id]

    @cached_property
    def _by_curve(self) -> dict[str, list[Cell]]:
        found: dict[str, list[Cell]] = defaultdict(list)
        for cell in sorted(self.cells, key=lambda c: c.count or 0):
            found[cell.curve_id].append(cell)
        return found

    def panels(self, task: str) -> tuple[Panel, ...]:
        """The panels of a task that have a count curve, small backbones first."""
        groups: dict[str, list[CurveThresholds]] = defaultdict(list)
        for found in self.curves_of_counts:
            if found.curve.task == task:
                groups[found.curve.setting].append(found)
        sizes = {g[0].curve.backbone: (g[0].curve.family, g[0].curve.parameters) for g in groups.values()}
        several = len(groups) > len(sizes)
        panels = [self._panel(key, tuple(group), several) for key, group in groups.items()]
        return tuple(sorted(panels, key=lambda p: (*sizes[p.backbone], p.title)))

    def _panel(self, key: str, group: tuple[CurveThresholds, ...], several: bool) -> Panel:
        first = group[0].curve
        beside: list[tuple[Cell, str]] = []
        spec = next(c.spec for c in self.cells if c.setting == key)
        others = [
            c
            for c in self.cells
            if (c.backbone, c.task) == (first.backbone, first.task) and c.method != "apet" and c.scores
        ]
        for name in sorted({c.name for c in others}, key=lambda n: [c.name for c in others].index(n)):
            alike = [(c, ", ".join(differences(spec, c.spec))) for c in others if c.name == name]
            beside.append(min(alike, key=lambda pair: len(pair[1])))
        title = f"{first.backbone} ({first.variant})" if several and first.variant else first.backbone
        return Panel(first.backbone, first.task, title, group, tuple(beside))


def read(
    store: Store, where: str | None = None, alpha: float = 0.05, margin: float = 0.02, floor: str = "majority"
) -> Study:
    """Everything a report needs, read once.

    Args:
        store: what to read.
        where: SQL condition over the columns of ``trials``: only those trials; full fine-tuning, which thresholds are
            compared with, is looked for in the whole store.
        alpha, margin, floor: as of :func:`orchestrator.analysis.thresholds.thresholds`.

    Raises:
        ApetError: there is no store, a file in it that isn't ours, a condition that is wrong or that no trial fulfils,
            or a rule out of range.
    """
    trials = store.trials()
    shown = with_failed(trials)
    found = thresholds(shown, where=where, alpha=alpha, margin=margin, floor=floor)
    selected = shown.filter(pc.not_equal(shown["state"], "failed"))
    every_curve = store.curves()
    tables = [store.attempts(), trials, every_curve, selected]
    if where is not None:
        from orchestrator.results.query import nothing
        from orchestrator.results.query import where as keep

        ids = keep(trials, where)["trial_id"].combine_chunks()
        if not len(ids):
            raise ApetError(nothing(where, len(trials)))
        tables = [table.filter(pc.is_in(table["trial_id"], value_set=ids)) for table in tables]
    attempts, trials, curves, selected = tables
    name = str(store.uri).rstrip("/").rpartition("/")[2]
    sweeps = tuple(_sweeps(store, attempts))
    return Study(name, attempts, trials, curves, shown, every_curve, where, found, cells(selected), sweeps)


def _sweeps(store: Store, attempts: pa.Table) -> Iterable[tuple[str, str, str]]:
    for name in sorted({name for name in attempts["sweep"].to_pylist() if name}):
        with suppress(ApetError):  # a damaged copy says nothing
            for where, text in store.sweeps(name):
                yield name, where, text
