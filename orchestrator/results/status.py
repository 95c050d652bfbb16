"""How far a store is: trials done, failed, diverged, running and missing, by backbone and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.text import table
from trials.store.store import Store
from trials.sweep.sweep import Sweep

_STATES = {"completed": "done", "failed": "failed", "diverged": "diverged"}  # of a visible row: as counted


@dataclass(frozen=True)
class Counts:
    """Trials by where they stand; each is counted once. ``missing`` is None without a sweep.

    ``running`` trials have a heartbeat younger than a minute and are neither done nor diverged.
    """

    done: int = 0
    failed: int = 0
    diverged: int = 0
    running: int = 0
    missing: int | None = None

    @property
    def trials(self) -> int:
        """All of them."""
        return self.done + self.failed + self.diverged + self.running + (self.missing or 0)


@dataclass(frozen=True)
class Status:
    """Counts per (backbone, task), in the sweep's order or by name, and their total."""

    groups: Mapping[tuple[str, str], Counts]
    total: Counts

    def to_rows(self) -> list[dict[str, Any]]:
        """One dict per backbone and task."""
        return [
            {"backbone": backbone, "task": task, "trials": counts.trials, **_columns(counts)}
            for (backbone, task), counts in self.groups.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"groups": self.to_rows(), "total": {"trials": self.total.trials, **_columns(self.total)}}

    def render(self) -> str:
        """A table with a last line of totals."""
        lines = [list(row.values()) for row in self.to_rows()]
        columns = _columns(self.total)
        lines.append(["total", "", self.total.trials, *columns.values()])
        return table(["backbone", "task", "trials", *columns], lines)


def status(store: Store, sweep: Sweep | None = None) -> Status:
    """Count the trials of a store, or with a ``sweep`` the trials of that sweep.

    Raises:
        ApetError: no store, or one that can't be read.
    """
    counted: dict[tuple[str, str], Counter[str]] = {}
    for group, state in _of_sweep(store, sweep) if sweep is not None else _of_store(store):
        counted.setdefault(group, Counter())[state] += 1
    groups = counted if sweep is not None else dict(sorted(counted.items()))
    with_missing = sweep is not None
    total = sum(counted.values(), Counter[str]())
    return Status({group: _counts(c, with_missing) for group, c in groups.items()}, _counts(total, with_missing))


def _of_sweep(store: Store, sweep: Sweep) -> Iterator[tuple[tuple[str, str], str]]:
    visible, running = store.visible(), store.running()
    for trial in sweep.trials():
        state, _ = visible.get(trial.trial_id, ("missing", 0))
        yield (trial.backbone.name, trial.task.name), _state(state, trial.trial_id in running)


def _of_store(store: Store) -> Iterator[tuple[tuple[str, str], str]]:
    rows, running = store.trials(), store.running()
    columns = (rows[name].to_pylist() for name in ("trial_id", "backbone", "task", "state"))
    for trial_id, backbone, task, state in zip(*columns, strict=True):
        yield (backbone, task), _state(state, running.pop(trial_id, None) is not None)
    for beat in running.values():  # first attempts
        yield (beat["backbone"], beat["task"]), "running"


def _state(state: str, running: bool) -> str:
    """A row that is a result counts as that, whatever a heartbeat of a minute ago says."""
    return "running" if running and state in ("failed", "missing") else _STATES.get(state, state)


def _counts(counter: Counter[str], with_missing: bool) -> Counts:
    missing = counter.pop("missing", 0)
    return Counts(**counter, missing=missing if with_missing else None)


def _columns(counts: Counts) -> dict[str, int]:
    return {name: value for name, value in asdict(counts).items() if value is not None}
