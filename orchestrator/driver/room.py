"""What packs take of machines that are known, and whether another one fits beside those that run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.planning.capacity import USABLE
from orchestrator.planning.devices import Machine
from orchestrator.text import number, size
from trials.errors import ApetError
from trials.setup import Setup


@dataclass(frozen=True)
class Taken:
    """Cores, cards, and bytes of memory."""

    cpus: int = 0
    gpus: int = 0
    memory: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.cpus + other.cpus, self.gpus + other.gpus, self.memory + other.memory)

    def within(self, other: Taken) -> bool:
        """Whether it is no more than ``other`` in anything."""
        return self.cpus <= other.cpus and self.gpus <= other.gpus and self.memory <= other.memory

    def __str__(self) -> str:
        return f"{number(self.cpus, 'CPU')}, {number(self.gpus, 'GPU')} and {size(self.memory)} of memory"


def rank(setup: Setup) -> Taken:
    """What one rank of a pack takes."""
    assert setup.gpus % setup.ranks == 0, setup
    return Taken(setup.threads or 1, setup.gpus // setup.ranks, setup.memory)


def pack(setup: Setup) -> Taken:
    """What a pack takes."""
    return sum([rank(setup)] * setup.ranks, Taken())


@dataclass(frozen=True)
class Room:
    """Machines that are there and stay as they are."""

    machines: Sequence[Machine]

    def fits(self, setup: Setup, running: Iterable[Setup] = ()) -> bool:
        """Whether a pack can run beside those that do."""
        return sum(map(pack, running), pack(setup)).within(self._whole)

    def check(self, setup: Setup) -> None:
        """Make sure that a pack can run when nothing else does: it would wait for ever.

        Raises:
            ApetError: it takes more than there is.
        """
        if not self.fits(setup):
            raise ApetError(
                f"a pack takes {pack(setup)}, and this machine has {self._whole}; give less in `resources`, or a "
                "larger machine with --address"
            )

    def at_once(self, setups: Iterable[Setup]) -> list[Setup]:
        """Of packs in their order, the first ones that run at a time."""
        found: list[Setup] = []
        for setup in setups:
            if not self.fits(setup, found):
                break
            found.append(setup)
        return found

    @property
    def _whole(self) -> Taken:
        all_of = (Taken(m.cpus * m.count, m.gpus * m.count, int(m.memory * USABLE) * m.count) for m in self.machines)
        return sum(all_of, Taken())
