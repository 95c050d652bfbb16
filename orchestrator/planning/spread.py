"""Where a gang may be: on one machine, or where no single one holds it, spread evenly over several that are alike.

Its ranks then exchange over the network, slower by far than over a machine's own links: one machine, however it holds
the gang, comes before two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.planning.devices import Machine
from trials.setup import Setup

MOST = 16  # machines of a gang, as it has ranks at most where nobody asks for more


def ways(machines: Sequence[Machine]) -> Iterator[tuple[int, Sequence[Machine]]]:
    """On how many machines a gang may be, the fewest first, and those that there are for it."""
    yield 1, machines
    kinds = alike(machines)
    for n in range(2, min(MOST, max((kind.count for kind in kinds), default=0)) + 1):
        yield n, kinds


def alike(machines: Sequence[Machine]) -> list[Machine]:
    """Machines by kind: those that differ in nothing but name and memory as one, with the memory of the least."""
    kinds: dict[Machine, list[Machine]] = {}
    for one in machines:
        kinds.setdefault(replace(one, name="", memory=0, count=1), []).append(one)
    return [
        replace(some[0], count=sum(one.count for one in some), memory=min(one.memory for one in some))
        for some in kinds.values()
    ]


def part(setup: Setup) -> Setup:
    """What of a pack is on each of its machines."""
    return replace(setup, gpus=setup.gpus // setup.machines, ranks=setup.ranks // setup.machines, machines=1)
