"""Packs that workers have: what the dispatch keeps of each."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.driver.ray.deaths import Death
from orchestrator.planning.packing import Busy, PlannedPack, Todo
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

    @property
    def busy(self) -> Busy:
        """As the stock sees it."""
        return Busy(self.planned.warmth, self.cost * (1 - self.over), self.planned.setup.node_type)


def stopped(running: Running) -> Death:
    """A worker that was told to stop while the run goes on, by a machine that is short of memory, say."""
    why = "its worker was told to stop"
    return Death("Stopped", why, why, PREEMPTED, running.node, running.host)


def no_row(running: Running, why: str) -> Death:
    """A worker that is there, and a row that isn't."""
    return Death("NoRow", why, why, node=running.node, host=running.host)
