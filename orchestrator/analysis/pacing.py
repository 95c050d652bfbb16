"""Steps to a score over the seeds of a cell: how many reach it, the median, the spread over position seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.analysis.reaching import median

NAME = ("backbone", "family", "scale", "parameters", "task", "method", "placement", "operations", "count", "variant")
SUMMARY = {
    **dict.fromkeys(NAME, "string"),
    "parameters": "int64",
    "count": "int64",
    "learning_rate": "double",  # chosen on validation
    "target": "double",
    "runs": "int64",
    "reached": "int64",  # null where there is nothing to reach
    "median": "double",  # of steps; null where half of the runs or more never reach it
    "within": "int64",  # the fewest steps that a run had which never reached it
    "least": "int64",
    "most": "int64",  # null where a run never reaches it
    "position_seeds": "int64",
    "spread": "double",  # over position seeds, the standard deviation of ln steps; null likewise
    "notes": "string",
}


@dataclass(frozen=True)
class Summary:
    """One cell: runs that differ in seeds alone. ``name`` has the columns :data:`NAME`."""

    name: Mapping[str, Any]
    learning_rate: float
    target: float | None
    runs: int
    reached: int | None
    median: float | None
    within: int | None
    least: int | None
    most: int | None
    position_seeds: int
    spread: float | None
    notes: str | None

    def row(self) -> dict[str, Any]:
        """A plain row, the columns of :data:`SUMMARY`."""
        values = {**self.name, **{k: v for k, v in asdict(self).items() if k != "name"}}
        return {name: values[name] for name in SUMMARY}


def summaries(runs: Iterable[Mapping[str, Any]]) -> tuple[Summary, ...]:
    """One a cell, in the order of the runs.

    Args:
        runs: rows of :mod:`orchestrator.analysis.convergence`.
    """
    cells: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        cells[tuple(run[name] for name in NAME)].append(run)
    return tuple(_summary(dict(zip(NAME, name, strict=True)), cell) for name, cell in cells.items())


def _summary(name: Mapping[str, Any], runs: list[Mapping[str, Any]]) -> Summary:
    judged = [run for run in runs if run["state"] != "unresolved"]
    steps = [run["steps"] for run in judged]
    known = [s for s in steps if s is not None]
    logs = log_steps(judged)
    return Summary(
        name=name,
        learning_rate=runs[0]["learning_rate"],
        target=runs[0]["target"],
        runs=len(runs),
        reached=len(known) if judged else None,
        median=median(steps),
        within=min((run["steps_done"] or run["after"] for run in judged if run["steps"] is None), default=None),
        least=min(known, default=None),
        most=max(known) if known and len(known) == len(steps) else None,
        position_seeds=len({run["position_seed"] for run in runs if run["position_seed"] is not None}),
        spread=spread(logs.values()) if logs else None,
        notes="; ".join(dict.fromkeys(run["notes"] for run in runs if run["state"] == "unresolved")) or None,
    )


def log_steps(runs: Iterable[Mapping[str, Any]]) -> dict[int, float] | None:
    """ln steps by position seed, the mean over its train seeds; None where a run has none, or no position seed."""
    found: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if not run["steps"] or run["position_seed"] is None:
            return None
        found[run["position_seed"]].append(math.log(run["steps"]))
    return {seed: sum(logs) / len(logs) for seed, logs in sorted(found.items())} or None


def spread(values: Iterable[float]) -> float | None:
    """Standard deviation; None of fewer than two.

    >>> spread([1.0, 3.0]), spread([1.0])
    (1.4142135623730951, None)
    """
    known = sorted(values)
    if len(known) < 2:
        return None
    mean = sum(known) / len(known)
    return math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
