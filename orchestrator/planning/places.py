"""Which type of a cluster's machines a group of trials runs on: the one where it costs the least.

A pack costs the price of a machine, for the time that it takes, by the share of the machine that it keeps from others.
Times are those of arithmetic, for all types alike: rows of one type would compare it with guesses of the others. Where
a price isn't known the smallest machine that holds a pack is taken. Types without cards are for sweeps that ask for
none, and for clusters that have none, as ever: a price doesn't decide between a CPU and a card.

Where any machine has no type packs go wherever there is room, as ``fit`` has it for all machines together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import Fit, fit, room_for
from orchestrator.planning.sizes import Known
from orchestrator.planning.times import work
from orchestrator.text import dollars, number
from trials.trial import Trial

if TYPE_CHECKING:
    from trials.sweep.resources import Resources


def node_types(machines: Sequence[Machine]) -> dict[str, list[Machine]]:
    """Machines by their type, the largest first; empty where one of them has none."""
    found: dict[str, list[Machine]] = {}
    for one in sorted(machines, key=_size, reverse=True):
        found.setdefault(one.node_type, []).append(one)
    return {} if "" in found else found


def place(trials: Sequence[Trial], machines: Sequence[Machine], wanted: Resources, known: Known | None = None) -> Fit:
    """The set-up of trials that may share packs, with the type of node that they go to.

    Args:
        trials, machines, wanted, known: see :func:`orchestrator.planning.fit.fit`.

    Raises:
        ApetError: wishes that exclude each other.
    """
    types = node_types(machines)
    if any(one.gpus for one in machines) and wanted.gpus != 0:
        types = {name: some for name, some in types.items() if any(one.gpus for one in some)}
    places = [_on(name, some, fit(trials, some, wanted, known), trials) for name, some in types.items()]
    able = [one for one in places if not one.fit.lacking]
    if not able:
        return fit(trials, machines, wanted, known)
    best = min(
        able, key=(lambda one: (one.dollars, one.size)) if all(one.price for one in able) else lambda one: one.size
    )
    return best.chosen(len(able))


@dataclass(frozen=True)
class _Place:
    """Trials on one type of node.

    Args:
        node_type: its name.
        fit: how they run there.
        price: dollars an hour of the part of a machine that a pack takes; 0 where that isn't known.
        seconds: of a worker for one of each of the trials, by arithmetic.
        size: of the machine, to compare with others.
    """

    node_type: str
    fit: Fit
    price: float
    seconds: float
    size: tuple[int, ...]

    @property
    def dollars(self) -> float:
        """What the trials cost there."""
        return self.price * self.seconds

    def chosen(self, of: int) -> Fit:
        """The fit, which says where, and why of so many types this one."""
        only = "the only type of node that holds it" if of == 1 else ""
        cheapest = f"the cheapest of {number(of, 'type')} of node that hold it, {dollars(self.price)} an hour a pack"
        smallest = f"the smallest of {number(of, 'type')} of node that hold it, for not all have a price"
        why = f"on {self.node_type}, {only or (cheapest if self.price else smallest)}"
        setup = replace(self.fit.setup, node_type=self.node_type, reason=f"{self.fit.setup.reason}; {why}")
        return replace(self.fit, setup=setup, why=f"{self.fit.why}; {why}", price=self.price)


def _on(node_type: str, machines: Sequence[Machine], found: Fit, trials: Sequence[Trial]) -> _Place:
    able = [one for one in machines if room_for(found.setup, one)]
    shares = [one.price / room_for(found.setup, one) for one in able]
    price = max(shares) if shares and all(shares) else 0.0
    seconds = work(trials, found.setup, {}, None, found.card)[0] if price else 0.0
    return _Place(node_type, found, price, seconds, min(map(_size, able or machines)))


def _size(machine: Machine) -> tuple[int, ...]:
    return machine.gpus * machine.card_bytes, machine.memory, machine.cpus
