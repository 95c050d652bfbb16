"""How far a store is: trials done, failed, diverged, running and missing, by backbone and task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from orchestrator.text import table
from trials.store.store import Store
from trials.sweep.sweep import Sweep

Beat = Mapping[str, Any]  # see Store.running
UNKNOWN = "unknown"  # the class of a failure whose row was written before there were classes
_STATES = {"completed": "done", "diverged": "diverged"}  # of a visible row: as counted


class Standing(NamedTuple):
    """Where one trial stands, as it is counted; ``failure`` is the class of a failed one."""

    state: str
    failure: str | None = None


MISSING, RUNNING = Standing("missing"), Standing("running")


class Working(NamedTuple):
    """A worker's pack: on which host, how many of its trials train, and how far they are."""

    host: str
    backbone: str
    task: str
    trials: int
    step: int | None
    steps: int | None


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
    """Counts per (backbone, task), in the sweep's order or by name, their total, and who trains, by host."""

    groups: Mapping[tuple[str, str], Counts]
    total: Counts
    working: tuple[Working, ...] = ()

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

    def render_working(self) -> str:
        """A table of who trains, a line a worker; empty where nobody does."""
        return table(["host", "trains", "task", "trials", "step", "of"], self.working) if self.working else ""


def status(store: Store, sweep: Sweep | None = None) -> Status:
    """Count the trials of a store, or with a ``sweep`` the trials of that sweep.

    Raises:
        ApetError: no store, or one that can't be read.
    """
    counted: dict[tuple[str, str], Counter[Standing]] = {}
    running = store.running()
    for group, standing in _of_sweep(store, sweep, running) if sweep is not None else _of_store(store, running):
        counted.setdefault(group, Counter())[standing] += 1
    groups = counted if sweep is not None else dict(sorted(counted.items()))
    with_missing = sweep is not None
    total = sum(counted.values(), Counter[Standing]())
    wanted = running.keys() if sweep is None else {trial.trial_id for trial in sweep.trials()}
    working = _working([beat for trial_id, beat in running.items() if trial_id in wanted])
    return Status(
        {group: _counts(c, with_missing) for group, c in groups.items()}, _counts(total, with_missing), working
    )


def _working(beats: Sequence[Beat]) -> tuple[Working, ...]:
    """Who trains, of a heartbeat a trial."""
    trials, last = Counter(beat["worker_id"] for beat in beats), {beat["worker_id"]: beat for beat in beats}
    found = (
        Working(
            beat.get("host", name), beat["backbone"], beat["task"], trials[name], beat.get("step"), beat.get("steps")
        )
        for name, beat in last.items()
    )
    return tuple(sorted(found, key=lambda one: one[:3]))


def _of_sweep(store: Store, sweep: Sweep, running: Mapping[str, Beat]) -> Iterator[tuple[tuple[str, str], Standing]]:
    rows = store.trials()
    columns = (rows[name].to_pylist() for name in ("trial_id", "state", "failure_class"))
    seen = {
        trial_id: _standing(state, failure, trial_id in running)
        for trial_id, state, failure in zip(*columns, strict=True)
    }
    for trial in sweep.trials():
        begun = RUNNING if trial.trial_id in running else MISSING
        yield (trial.backbone.name, trial.task.name), seen.get(trial.trial_id, begun)


def _of_store(store: Store, running: Mapping[str, Beat]) -> Iterator[tuple[tuple[str, str], Standing]]:
    rows, new = store.trials(), dict(running)
    columns = (rows[name].to_pylist() for name in ("trial_id", "backbone", "task", "state", "failure_class"))
    for trial_id, backbone, task, state, failure in zip(*columns, strict=True):
        yield (backbone, task), _standing(state, failure, new.pop(trial_id, None) is not None)
    for beat in new.values():  # first attempts
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
