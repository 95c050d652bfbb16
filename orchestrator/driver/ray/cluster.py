"""Ray for one run: a private one on this machine, or a cluster that is there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.driver.ray import autoscaler, local, remote
from orchestrator.driver.ray.nodes import alive, of_resources
from orchestrator.driver.room import Room
from orchestrator.planning.devices import Machine, here

MOST_PENDING = 100  # packs that wait for a growing cluster at a time

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; silences a notice
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # experiment state is written once, and never read
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "-1",
}


@dataclass(frozen=True)
class Cluster:
    """Where packs run.

    Args:
        machines: those that are there, and those that may come.
        directory: for Tune's and Ray's own files, removed at the end.
        private: it has one node, this machine, and gets no other.
        asks_memory: whether packs ask Ray for memory; where it isn't asked, :attr:`room` counts it, or nobody can.
        max_concurrent: packs at a time at most.
        most: packs that wait for room in Ray at a time at most.
    """

    machines: tuple[Machine, ...]
    directory: Path
    private: bool
    asks_memory: bool = False
    max_concurrent: int | None = None
    most: int = MOST_PENDING

    @property
    def logs(self) -> Path:
        """Ray's own logs; an empty place where Ray was there before us."""
        return self.directory / "session_latest" / "logs"

    @property
    def room(self) -> Room | None:
        """What packs share; None on a cluster that may grow, where some always wait."""
        return Room(self.machines) if self.private else None

    def others(self, excluded: Set[str]) -> bool:
        """Whether packs may go elsewhere than to ``excluded`` nodes."""
        there = {node.node_id for node in alive() if node.works}
        return bool(there - excluded) or (not self.private and bool(autoscaler.more([])))


@contextmanager
def cluster(address: str | None, max_concurrent: int | None = None) -> Iterator[Cluster]:
    """Start or join Ray for one run.

    Args:
        address: of a running Ray cluster; None starts one on this machine, which nobody else joins.
        max_concurrent: packs at a time at most.

    Raises:
        ApetError: nothing answers at ``address``, or that cluster has nothing to run packs on.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    with local.folder() as directory, local.quiet():
        ours = not ray.is_initialized()
        try:
            machines, asks_memory = _up(directory, address, ours)
            waiting = sum((machine.gpus or machine.cpus) * machine.count for machine in machines)
            most = max(1, min(MOST_PENDING, waiting))
            yield Cluster(machines, directory, address is None, asks_memory, max_concurrent, most)
        finally:
            if ours:
                ray.shutdown()


def _up(directory: Path, address: str | None, ours: bool) -> tuple[tuple[Machine, ...], bool]:
    """Machines, and whether packs ask Ray for their memory."""
    if address is not None:
        if ours:
            remote.join(address)
        return remote.machines()
    if not ours:  # who started it decides what it has
        return tuple(of_resources(node.resources, node.host, labels=node.labels) for node in alive()), False
    machine = here()
    local.start(directory, machine)
    return (machine,), False
