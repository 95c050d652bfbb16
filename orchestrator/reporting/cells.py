"""Cells of a store: runs that differ only in their seeds, as the sections read them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.specs import operations_label, variants
from trials.keys import setting

if TYPE_CHECKING:
    import pyarrow as pa

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
