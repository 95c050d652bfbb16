"""How many packs run at a time on machines that are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.planning.devices import Machine
from orchestrator.planning.spread import alike, part
from trials.setup import Setup

USABLE = 0.9  # of a card's or a machine's memory


def at_once(setup: Setup, machines: Sequence[Machine]) -> int:
    """Packs that run at a time: each takes its cores, its cards and its memory."""
    return sum(packs_on(setup, machine) for machine in (alike(machines) if setup.machines > 1 else machines))


def room_for(setup: Setup, machine: Machine) -> int:
    """Packs at a time on one such machine, or on as many as a pack takes."""
    return packs_on(setup, replace(machine, count=setup.machines))


def packs_on(setup: Setup, machine: Machine) -> int:
    """Packs at a time on all machines of one kind; 0 on another type of node than they are for."""
    if machine.count < setup.machines or setup.node_type not in ("", machine.node_type):
        return 0
    each = part(setup)
    limits = [machine.cpus // (each.ranks * (each.threads or 1))]
    if each.gpus:
        limits.append(machine.gpus // each.gpus)
    if each.memory:
        limits.append(int(machine.memory * USABLE) // (each.memory * each.ranks))
    return min(limits) * machine.count // setup.machines
