"""Which type of a cluster's machines a group of trials runs on: the one where it costs the least.

A pack costs the price of a machine, for the time that it takes, by the share of the machine that it keeps from others.
Times are those of arithmetic, for all types alike: rows of one type would compare it with guesses of the others. Where
a price isn't known the smallest machine is taken that holds a pack, in its cards if one does. Types without cards are
for sweeps that ask for none, and for clusters that have none, as ever: a price doesn't decide between a CPU and a card.

A type that some trials need, since no other holds them in its cards, is kept for these: large cards, though they may do
more for a dollar, aren't taken by small backbones while large ones wait, and the small ones don't wait for their end.

Where any machine has no type packs go wherever there is room, as ``fit`` has it for all machines together.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.planning.capacity import room_for
from orchestrator.planning.devices import Machine
from orchestrator.planning.fit import Fit, fit
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


def place(
    trials: Sequence[Trial],
    machines: Sequence[Machine],
    wanted: Resources,
    known: Known | None = None,
    kept: Set[str] = frozenset(),
) -> Fit:
    """The set-up of trials that may share packs, with the type of node that they go to.

    Args:
        trials, machines, wanted, known: see :func:`orchestrator.planning.fit.fit`.
        kept: types that are for others, if another one holds these trials in its cards.

    Raises:
        ApetError: wishes that exclude each other.
    """
    types = node_types(machines)
    if any(one.gpus for one in machines) and wanted.gpus != 0:
        types = {name: some for name, some in types.items() if any(one.gpus for one in some)}
    places = [_on(name, some, fit(trials, some, wanted, known, advise=False), trials) for name, some in types.items()]
    able = [one for one in places if not one.fit.lacking]
    if not able:
        return fit(trials, machines, wanted, known)
    free = [one for one in able if one.node_type not in kept]
    if not any(one.in_cards for one in free):
        free = able
    priced = all(one.price for one in free)
    best = min(free, key=lambda one: (one.dollars, one.size) if priced else (not one.in_cards, one.size))
    needed = best.in_cards and not any(one.in_cards for one in able if one is not best)
    if len(able) == 1:
        why = "the only type of node that holds it"
    elif priced:
        why = f"the cheapest of {number(len(free), 'type')} of node, {dollars(best.price)} an hour a pack"
    else:
        why = f"the smallest of {number(len(free), 'type')} of node, for not all have a price"
    others = sorted(one.node_type for one in able if one.node_type in kept and one not in free)
    why += f"; {', '.join(others)} is for what fits nowhere else" if others else ""
    return best.chosen(why, needed)


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

    @property
    def in_cards(self) -> bool:
        """Whether the cards of one machine hold a pack, and not its memory for them."""
        return not self.fit.setup.offload and self.fit.setup.machines == 1

    def chosen(self, why: str, needed: bool) -> Fit:
        """The fit, which says where, why there, and whether no other type would do."""
        why = f"on {self.node_type}, {why}"
        setup = replace(self.fit.setup, node_type=self.node_type, reason=f"{self.fit.setup.reason}; {why}")
        return replace(self.fit, setup=setup, why=f"{self.fit.why}; {why}", price=self.price, needs_type=needed)


def _on(node_type: str, machines: Sequence[Machine], found: Fit, trials: Sequence[Trial]) -> _Place:
    able = [one for one in machines if room_for(found.setup, one)]
    shares = [one.price * found.setup.machines / room_for(found.setup, one) for one in able]
    price = max(shares) if shares and all(shares) else 0.0
    seconds = work(trials, found.setup, {}, None, found.card)[0] if price else 0.0
    return _Place(node_type, found, price, seconds, min(map(_size, able or machines)))


def _size(machine: Machine) -> tuple[int, ...]:
    return machine.gpus * machine.card_bytes, machine.memory, machine.cpus
