"""Which pack is next, and what becomes of its trials: the driver's bookkeeping, without ray.

A trial leaves in one of four ways: its row is written (completed, diverged, failed), it was interrupted, or
its worker was lost. Only the last comes back, as a new attempt, at most ``retries`` times in one run;
a preempted worker costs none of them. Memory grows with what is still to be done, never with what is done.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.driver.ray.deaths import Death
from orchestrator.planning.packing import PlannedPack, Todo
from trials.pack import Pack
from trials.setup import Setup
from workers.pack.progress import INTERRUPTED, Ended, Progress


@dataclass
class Running:
    """A pack that a worker has, and those of its trials that have not ended."""

    planned: PlannedPack
    open: dict[str, Todo]  # by trial_id


@dataclass
class Counts:
    """Trials by how they ended in this run."""

    completed: int = 0
    diverged: int = 0
    failed: int = 0
    interrupted: int = 0

    def add(self, state: str) -> None:
        """Count one trial that ended in ``state``."""
        setattr(self, state, getattr(self, state) + 1)

    @property
    def done(self) -> int:
        """Trials that have a row now."""
        return self.completed + self.diverged + self.failed


@dataclass
class Dispatch:
    """Hands out packs and takes back reports.

    Args:
        groups: packs in the order of :func:`orchestrator.planning.packing.packs`.
        run_id: names the packs of this run.
        retries: how often a trial may come back in this run because its worker was lost.
        row_state: the state of an attempt's row in the store, None when there is none.
        stored: whether an attempt's row is in the store, by its id.
        give_up: writes a failed row for an attempt whose worker was lost, with the reason.
        on_start, on_report, on_end, on_over: told of every pack handed out, of every report, of every trial
            that ends and of every pack that no longer runs (by its id), for the display.
    """

    groups: Iterable[PlannedPack]
    run_id: str
    retries: int
    row_state: Callable[[Todo], str | None]
    stored: Callable[[str], bool]
    give_up: Callable[[Todo, Death], None]
    on_start: Callable[[Pack], None] = lambda pack: None
    on_report: Callable[[Progress], None] = lambda progress: None
    on_end: Callable[[Todo, Ended], None] = lambda todo, ended: None
    on_over: Callable[[str], None] = lambda pack_id: None
    stopping: bool = False
    counts: Counts = field(default_factory=Counts)
    running: dict[str, Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._queues: dict[str, deque[PlannedPack]] = {}
        for group in self.groups:
            self._queues.setdefault(group.warmth, deque()).append(group)
        self.groups = ()
        self._spent: dict[str, int] = {}  # trial_id: retries; only of trials that came back
        self._numbers = itertools.count()

    @property
    def waiting(self) -> bool:
        """Whether a pack could be handed out."""
        return not self.stopping and bool(self._queues)

    def next(self) -> Pack | None:
        """The next pack; None when there is none to hand out now."""
        if not self.waiting:
            return None
        warmth, queue = next(iter(self._queues.items()))
        planned = queue.popleft()
        if not queue:
            del self._queues[warmth]
        pack = planned.pack(f"{self.run_id}-{next(self._numbers)}")
        self.running[pack.pack_id] = Running(planned, {todo.trial.trial_id: todo for todo in planned.members})
        self.on_start(pack)
        return pack

    def report(self, progress: Progress) -> None:
        """A worker's news of its pack: trials that ended have their rows by now, which is made sure of."""
        self.on_report(progress)
        running = self.running.get(progress.pack_id)
        if running is None:
            return
        for ended in progress.ended:
            todo = running.open.pop(ended.trial_id, None)
            if todo is None:
                continue
            if ended.state == INTERRUPTED or ended.attempt_id is None or self.stored(ended.attempt_id):
                self._ended(todo, ended)
            else:
                why = f"the worker wrote the row of attempt {ended.attempt_id} where the driver doesn't see it"
                self._back(todo, running.planned.setup, no_row(f"{why}: every node must see the same store"))

    def finished(self, pack_id: str) -> None:
        """A worker is through with its pack. A trial that it said nothing of is looked up in the store."""
        for todo, setup in self._take(pack_id):
            state = self.row_state(todo)
            if state or self.stopping:
                self._ended(todo, Ended(todo.trial.trial_id, state or INTERRUPTED))
            else:
                self._back(todo, setup, no_row("the worker ended its pack without a row for this trial"))

    def lost(self, pack_id: str, why: Death, preempted: bool = False) -> None:
        """A worker is gone. Trials whose rows it had written are done, the others come back.

        Args:
            pack_id: the pack that it had.
            why: what is known about it.
            preempted: the machine was taken away: nobody's fault, no retry spent.
        """
        for todo, setup in self._take(pack_id):
            state = self.row_state(todo)
            if state:
                self._ended(todo, Ended(todo.trial.trial_id, state))
            elif self.stopping:
                self._ended(todo, Ended(todo.trial.trial_id, INTERRUPTED))
            else:
                self._back(todo, setup, why, preempted)

    def _take(self, pack_id: str) -> list[tuple[Todo, Setup]]:
        running = self.running.pop(pack_id, None)
        self.on_over(pack_id)
        return [(todo, running.planned.setup) for todo in running.open.values()] if running else []

    def _ended(self, todo: Todo, ended: Ended) -> None:
        self._spent.pop(todo.trial.trial_id, None)
        self.counts.add(ended.state)
        self.on_end(todo, ended)

    def _back(self, todo: Todo, setup: Setup, why: Death, preempted: bool = False) -> None:
        """Queue a new attempt behind the packs of its backbone; a trial alone, since it may be the culprit."""
        trial_id = todo.trial.trial_id
        spent = self._spent.get(trial_id, 0) + (not preempted)
        if spent > self.retries:  # no row before: a driver that dies now leaves the trial missing, not failed
            self.give_up(todo, why)
            self._ended(todo, Ended(trial_id, "failed", error_message=why.reason))
            return
        self._spent[trial_id] = spent
        again = PlannedPack((todo if preempted else todo.again(),), setup)
        self._queues.setdefault(again.warmth, deque()).append(again)


def no_row(why: str) -> Death:
    """A worker that is there, and a row that isn't."""
    return Death("NoRow", why, why)
