"""What a report is drawn from: a store's rows grouped into cells and panels, once for all sections."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from orchestrator.analysis.convergence import Convergence, convergence
from orchestrator.analysis.dispersion.dispersion import dispersion
from orchestrator.analysis.dispersion.result import Dispersion
from orchestrator.analysis.failed import with_failed
from orchestrator.analysis.specs import differences, operations_label, variants
from orchestrator.analysis.table import CurveThresholds, Thresholds
from orchestrator.analysis.thresholds import thresholds
from orchestrator.analysis.transfer import Transfer, transfer
from trials.errors import ApetError
from trials.keys import setting

if TYPE_CHECKING:
    import pyarrow as pa

    from trials.store.store import Store

METHODS = ("full", "apet", "lora", "adapter", "bitfit", "prompt")  # in the order of a table
SHORT = 12  # hex digits of a trial id on the page: commands take any beginning that is unique
_COLUMNS = [
    *("trial_id", "attempt_id", "spec", "backbone", "backbone_parameters", "task", "method", "placement", "head"),
    *("count_actual", "learning_rate", "state", "test_score", "train_s", "cell_id", "labels"),
    *("curve_id", "position_seed", "train_seed"),
]


@dataclass(frozen=True)
class Run:
    """One visible row: a trial with its test score, None where it diverged before it had one."""

    trial_id: str
    attempt_id: str
    position_seed: int | None
    train_seed: int | None
    state: str
    score: float | None


@dataclass(frozen=True)
class Cell:
    """Runs that differ only in their seeds: one method at one size and one learning rate.

    Args:
        name: the method with its size or placement, without its count: ``lora, rank 8``.
        variant: what tells it from cells of one name, backbone, task and count: ``steps 90``, or ''.
        runs: in the order of their seeds, those that diverged included.
        curve_id: shared by cells that differ in nothing but their count.
        setting: shared with everything trained alike, see ``trials.keys.setting``.
    """

    backbone: str
    parameters: int
    task: str
    method: str
    name: str
    count: int | None
    learning_rate: float
    runs: tuple[Run, ...]
    train_s: float | None  # mean, seconds
    trained_head: bool
    setting: str
    curve_id: str
    spec: str
    variant: str = ""

    @property
    def scores(self) -> tuple[float, ...]:
        """Test scores of the runs that have one."""
        return tuple(run.score for run in self.runs if run.score is not None)

    @property
    def unscored(self) -> int:
        """How many runs have none."""
        return len(self.runs) - len(self.scores)

    @property
    def label(self) -> str:
        """The name with the variant."""
        return f"{self.name}, {self.variant}" if self.variant else self.name

    @property
    def mean(self) -> float | None:
        """Mean test score, None without any."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation of the test score, None below two scores."""
        if len(self.scores) < 2 or self.mean is None:
            return None
        mean = self.mean
        return float((sum((s - mean) ** 2 for s in self.scores) / (len(self.scores) - 1)) ** 0.5)


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


def cells(selected: pa.Table) -> tuple[Cell, ...]:
    """The cells of the ``selected`` view, by task, backbone and method."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in selected.select(_COLUMNS).to_pylist():
        groups[row["cell_id"]].append(row)
    made = [_cell(rows) for rows in groups.values()]
    names = [(c.backbone, c.task, c.name, c.count if c.method == "apet" else None) for c in made]
    told = variants([c.spec for c in made], names)
    named = (replace(c, variant=variant) for c, variant in zip(made, told, strict=True))
    return tuple(sorted(named, key=lambda c: (c.task, c.parameters, c.backbone, *order(c), c.spec)))


def order(cell: Cell) -> tuple[int, bool, str, int]:
    """The order of a table's rows: methods as in :data:`METHODS`, discrete before adjacent, small counts first."""
    method = METHODS.index(cell.method) if cell.method in METHODS else len(METHODS)
    return (method, "adjacent" in cell.name, cell.label, cell.count or 0)


def _cell(rows: list[dict[str, Any]]) -> Cell:
    first = rows[0]
    return Cell(
        **{k: first[k] for k in ("backbone", "task", "method", "learning_rate", "spec")},
        parameters=first["backbone_parameters"] or 0,
        name=_name(first),
        count=first["count_actual"],
        runs=tuple(
            sorted(map(_run, rows), key=lambda run: (str(run.position_seed), str(run.train_seed), run.trial_id))
        ),
        train_s=average(r["train_s"] for r in rows),
        trained_head=first["head"] == "trained",
        setting=setting(first["spec"]),
        curve_id=first["curve_id"],
    )


def _run(row: dict[str, Any]) -> Run:
    names = ("trial_id", "attempt_id", "position_seed", "train_seed", "state")
    return Run(**{name: row[name] for name in names}, score=row["test_score"])


def average(values: Iterable[float | None]) -> float | None:
    """The mean of what isn't missing."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _name(row: dict[str, Any]) -> str:
    method = json.loads(row["spec"])["method"]
    sizes = [f"{key} {method[key]}" for key in ("rank", "bottleneck", "tokens") if method.get(key)]
    if row["method"] == "apet":
        sizes = [row["placement"], operations_label(row["spec"])]
    head = ["trained head"] if row["head"] == "trained" else []
    return ", ".join([row["method"], *sizes, *head])
