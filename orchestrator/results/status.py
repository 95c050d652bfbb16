"""How far a store is: trials done, failed, diverged, running and missing, by backbone and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from orchestrator.text import table
from trials.store.store import Store
from trials.sweep.sweep import Sweep

UNKNOWN = "unknown"  # the class of a failure whose row was written before there were classes
_STATES = {"completed": "done", "diverged": "diverged"}  # of a visible row: as counted


class Standing(NamedTuple):
    """Where one trial stands, as it is counted; ``failure`` is the class of a failed one."""

    state: str
    failure: str | None = None


MISSING, RUNNING = Standing("missing"), Standing("running")


@dataclass(frozen=True)
class Counts:
    """Trials by where they stand; each is counted once. ``missing`` is None without a sweep.

    ``running`` trials have a heartbeat younger than a minute and are neither done nor diverged. ``failures`` are the
    ``failed`` ones by class, the most frequent first.
    """

    done: int = 0
    failed: int = 0
    diverged: int = 0
    running: int = 0
    missing: int | None = None
    failures: Mapping[str, int] = field(default_factory=dict)

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
        """A table with a last line of totals; where any trial failed, a last column of their classes."""
        rows = [*self.to_rows(), {"backbone": "total", "task": "", "trials": self.total.trials, **_columns(self.total)}]
        for row in rows:
            failures = row.pop("failures")
            if self.total.failures:
                row["failed by"] = ", ".join(f"{count} {name}" for name, count in failures.items())
        return table(list(rows[-1]), [list(row.values()) for row in rows])


def status(store: Store, sweep: Sweep | None = None) -> Status:
    """Count the trials of a store, or with a ``sweep`` the trials of that sweep.

    Raises:
        ApetError: no store, or one that can't be read.
    """
    counted: dict[tuple[str, str], Counter[Standing]] = {}
    for group, standing in _of_sweep(store, sweep) if sweep is not None else _of_store(store):
        counted.setdefault(group, Counter())[standing] += 1
    groups = counted if sweep is not None else dict(sorted(counted.items()))
    with_missing = sweep is not None
    total = sum(counted.values(), Counter[Standing]())
    return Status({group: _counts(c, with_missing) for group, c in groups.items()}, _counts(total, with_missing))


def _of_sweep(store: Store, sweep: Sweep) -> Iterator[tuple[tuple[str, str], Standing]]:
    rows, running = store.trials(), store.running()
    columns = (rows[name].to_pylist() for name in ("trial_id", "state", "failure_class"))
    seen = {
        trial_id: _standing(state, failure, trial_id in running)
        for trial_id, state, failure in zip(*columns, strict=True)
    }
    for trial in sweep.trials():
        begun = RUNNING if trial.trial_id in running else MISSING
        yield (trial.backbone.name, trial.task.name), seen.get(trial.trial_id, begun)


def _of_store(store: Store) -> Iterator[tuple[tuple[str, str], Standing]]:
    rows, running = store.trials(), store.running()
    columns = (rows[name].to_pylist() for name in ("trial_id", "backbone", "task", "state", "failure_class"))
    for trial_id, backbone, task, state, failure in zip(*columns, strict=True):
        yield (backbone, task), _standing(state, failure, running.pop(trial_id, None) is not None)
    for beat in running.values():  # first attempts
        yield (beat["backbone"], beat["task"]), RUNNING


def _standing(state: str, failure: str | None, running: bool) -> Standing:
    """A row that is a result counts as that, whatever a heartbeat of a minute ago says; a failed one may run again."""
    if state != "failed":
        return Standing(_STATES[state])
    return RUNNING if running else Standing("failed", failure or UNKNOWN)


def _counts(counted: Counter[Standing], with_missing: bool) -> Counts:
    states, failures = Counter[str](), Counter[str]()
    for (state, failure), count in counted.items():
        states[state] += count
        if failure is not None:
            failures[failure] += count
    missing = states.pop("missing", 0)
    by_class = dict(sorted(failures.items(), key=lambda item: (-item[1], item[0])))
    return Counts(**states, missing=missing if with_missing else None, failures=by_class)


def _columns(counts: Counts) -> dict[str, Any]:
    return {name: value for name, value in asdict(counts).items() if value is not None}
