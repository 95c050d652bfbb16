"""What is left for one backbone, and how much of it is the next pack."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from orchestrator.planning.todo import PlannedPack, Todo
from trials.setup import Setup

TOLERANCE = 1.1  # times its share that a worker gets at most: a small pack of what is left over would cost more


def how_many(trials: int, amount: float, size: int, workers: int) -> int:
    """Trials of a worker's next pack, at most ``size``.

    Args:
        trials: equal ones that are left and may share a pack.
        amount: how many of them the worker's :func:`share` is worth.
        size: of a full pack.
        workers: that there are.
    """
    even = ceil(trials / workers)  # somebody has to train so many, however they are divided
    return min(size, max(1, even, int(amount * TOLERANCE)))


@dataclass(slots=True)
class Shelf:
    """Attempts that may share a pack.

    Args:
        todo: the next ones last: by depth, else in the order of the sweep.
        setup: how they run.
        cost: of each.
    """

    todo: list[Todo]
    setup: Setup
    cost: float

    def take(self, n: int) -> PlannedPack:
        """The next ``n`` or fewer."""
        taken = self.todo[: -n - 1 : -1]
        del self.todo[-n:]
        return PlannedPack(tuple(taken), self.setup)


class Line:
    """What is left for one backbone: a worker that has it loaded goes from pack to pack."""

    def __init__(self) -> None:
        self.work = 0.0  # cost of all of it
        self.front, self.back = deque[PlannedPack](), deque[PlannedPack]()  # that came back: before shelves, behind
        self._heap: list[tuple[float, int, int, int, Shelf]] = []  # the order of packs, see _push
        self._numbers = itertools.count()
        self._setups: dict[Setup, int] = {}  # in order of appearance

    def __bool__(self) -> bool:
        return bool(self._heap or self.front or self.back)

    def add(self, shelf: Shelf) -> None:
        """Put attempts in, none of which is here yet."""
        self.work += shelf.cost * len(shelf.todo)
        self._push(shelf, next(self._numbers))

    def put(self, planned: PlannedPack, where: deque[PlannedPack]) -> None:
        """A pack that came back, in front or behind."""
        self.work += planned.weight
        where.append(planned)

    @property
    def longest(self) -> float:
        """The cost of the next part that can't be divided."""
        return self._head.cost if isinstance(self._head, Shelf) else self._head.weight

    @property
    def setup(self) -> Setup:
        """Of the next pack."""
        return self._head.setup

    @property
    def _head(self) -> Shelf | PlannedPack:
        return self.front[0] if self.front else self._heap[0][4] if self._heap else self.back[0]

    def setups(self) -> Iterator[Setup]:
        """Of all that is left, trial by trial, about in its order."""
        shelves = (entry[4] for entry in sorted(self._heap, key=lambda entry: entry[:4]))
        yield from (planned.setup for planned in self.front)
        yield from (shelf.setup for shelf in shelves for _ in shelf.todo)
        yield from (planned.setup for planned in self.back)

    def drain(self) -> tuple[list[Shelf], list[PlannedPack]]:
        """Shelves in about their order, and packs that came back; the line is as good as empty then."""
        return [entry[4] for entry in sorted(self._heap, key=lambda entry: entry[:4])], [*self.front, *self.back]

    def resize(self, setup: Setup, size: int) -> None:
        """Shelves of a set-up, whatever its size is, make packs of another one from now on."""
        shelves = [(entry[3], entry[4]) for entry in self._heap]
        self._heap = []
        for number, shelf in shelves:
            if unsized(shelf.setup) == unsized(setup):
                shelf.setup = sized(shelf.setup, size)
            self._push(shelf, number)

    def take(self, amount: float, workers: int) -> PlannedPack:
        """The next pack for one of the workers, who gets so much of the work till the end."""
        if self.front or not self._heap:
            planned = (self.front or self.back).popleft()
        else:
            *_, number, shelf = heapq.heappop(self._heap)
            size = shelf.setup.pack_size
            planned = shelf.take(how_many(len(shelf.todo), amount / shelf.cost, size, workers))
            if shelf.todo:
                self._push(shelf, number)
        self.work = self.work - planned.weight if self else 0.0  # not what rounding leaves of it
        return planned

    def _push(self, shelf: Shelf, number: int) -> None:
        """Longest trials first; of those such as run alike, for whom workers are kept; of those the fullest packs."""
        how = self._setups.setdefault(unsized(shelf.setup), len(self._setups))
        full = min(len(shelf.todo), shelf.setup.pack_size)
        heapq.heappush(self._heap, (-shelf.cost, how, -full, number, shelf))


def unsized(setup: Setup) -> Setup:
    """What set-ups agree in that differ in their pack size, or in whether that is still to be measured."""
    return sized(setup, 0)


def sized(setup: Setup, size: int) -> Setup:
    """With a pack size that is known."""
    return replace(setup, pack_size=size, measure_to=0)
