"""Packs that workers have, and trials by how they ended: what the dispatch keeps of each."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.driver.ray.deaths import Death
from orchestrator.planning.packing import PlannedPack, Todo
from trials.failures import PREEMPTED


@dataclass
class Running:
    """A pack that a worker has.

    Args:
        open: those of its trials that have not ended, by trial_id.
        cost: of all of it, and how much of its training is over.
        node, host: where it runs, see :class:`Death`; empty until it is known.
        unseen: of a row that the worker says it wrote, and that the driver doesn't see.
    """

    planned: PlannedPack
    open: dict[str, Todo]
    cost: float
    over: float = 0.0
    node: str = ""
    host: str = ""
    unseen: Death | None = None


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


def stopped(running: Running) -> Death:
    """A worker that was told to stop while the run goes on, by a machine that is short of memory, say."""
    why = "its worker was told to stop"
    return Death("Stopped", why, why, PREEMPTED, running.node, running.host)


def no_row(running: Running, why: str) -> Death:
    """A worker that is there, and a row that isn't."""
    return Death("NoRow", why, why, node=running.node, host=running.host)
