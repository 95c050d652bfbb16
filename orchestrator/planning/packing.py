"""Trials become packs when a worker asks for one: which trials, and how many.

A :class:`Stock` holds what is still to be handed out. It has no clock and draws nothing: the same questions in the same
order get the same packs. Its rules, each of which ``tests/orchestrator/planning/test_packing_properties.py`` measures:

- A worker stays on the backbone that it has loaded as long as there is work for it. One that has none loads a backbone
  that nobody has, the one with the most work, before it joins others.
- The largest trials of a backbone go first, so that the last ones are short. A trial as long as all that is left for
  each worker can't wait, whatever is loaded.
- A pack is full until the end is near; then what is left, with what still runs, is shared out evenly, so that workers
  end together. As each gets its next pack only when it asks, none has one in reserve while another is idle.
- In a pack prompts are of one length, for its rows are as long as the longest prompt makes them; and trials come in the
  order of their depth, for what lies below the lowest block that any of them touches is computed once.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil

from orchestrator.planning.todo import PlannedPack, Todo, cost, depth
from trials.pack import Sources
from trials.setup import Setup
from trials.trial import Trial

__all__ = ["Busy", "PlannedPack", "Stock", "Todo", "cost", "how_many", "packs", "share"]

TOLERANCE = 1.1  # times its share that a worker gets at most: a small pack of what is left over would cost more


@dataclass(frozen=True)
class Busy:
    """A worker that trains a pack.

    Args:
        warmth: of the pack.
        left: of its cost, what is still to be done.
    """

    warmth: str
    left: float


def packs(todo: Iterable[Todo], setup: Setup | Callable[[Trial], Setup] | None = None) -> list[PlannedPack]:
    """All packs in the order in which a single worker gets them.

    Args:
        todo, setup: see :class:`Stock`.
    """
    stock, found = Stock(todo, setup), list[PlannedPack]()
    while planned := stock.take(found[-1].warmth if found else None):
        found.append(planned)
    return found


def share(left: float, busy: Iterable[float], workers: int) -> float:
    """What a worker that is idle gets of the work that is left, if all workers are to end together.

    Args:
        left: work that nobody has begun.
        busy: what each of the others still has to do; one that has more than its share takes no part.
        workers: all of them.
    """
    others = sorted(busy)
    free = max(workers - len(others), 1)
    level = (left + sum(others)) / (free + len(others))
    while others and others[-1] > level:
        others.pop()
        level = (left + sum(others)) / (free + len(others))
    return level


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

    def resize(self, setup: Setup, size: int) -> None:
        """Shelves of a set-up, whatever its size is, make packs of another one from now on."""
        shelves = [(entry[3], entry[4]) for entry in self._heap]
        self._heap = []
        for number, shelf in shelves:
            if _unsized(shelf.setup) == _unsized(setup):
                shelf.setup = replace(shelf.setup, pack_size=size)
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
        how = self._setups.setdefault(_unsized(shelf.setup), len(self._setups))
        full = min(len(shelf.todo), shelf.setup.pack_size)
        heapq.heappush(self._heap, (-shelf.cost, how, -full, number, shelf))


class Stock:
    """What is still to be handed out.

    Args:
        todo: attempts, in the order of their sweep.
        setup: how they run, all of them or each; those of a pack have one set-up, share what ``Trial.pack_key`` says
            and are at most ``setup.pack_size``. None: each alone, wherever it comes to run.
    """

    def __init__(self, todo: Iterable[Todo], setup: Setup | Callable[[Trial], Setup] | None = None) -> None:
        setup = setup or Setup()
        self._lines: dict[str, Line] = defaultdict(Line)
        self._sizes: dict[tuple[str, Setup], int] = {}  # learnt, by warmth and set-up
        self._kept_free: str | None = None  # the line for whose next pack there is too little room
        alike: dict[Hashable, list[Todo]] = defaultdict(list)
        how: dict[Hashable, Setup] = {}
        for one in todo:
            its = setup if isinstance(setup, Setup) else setup(one.trial)
            shared = (one.trial.pack_key, one.trial.method.tokens, _places(one.sources), one.sweep, its)
            alike[shared].append(one)
            how[shared] = its
        for key, some in alike.items():
            some.sort(key=depth)  # stable
            self._lines[some[0].warmth].add(Shelf(some[::-1], how[key], cost(some[0].trial)))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def setups(self) -> Iterator[tuple[str, Setup]]:
        """Warmth and set-up of all that is left, trial by trial: first one of every line, as workers begin them."""
        lines = sorted(self._lines.items(), key=lambda item: -item[1].work)  # stable
        rest = [(warmth, line.setups()) for warmth, line in lines]
        yield from ((warmth, next(setups)) for warmth, setups in rest)
        yield from ((warmth, setup) for warmth, setups in rest for setup in setups)

    def take(
        self,
        warm: str | None = None,
        busy: Collection[Busy] = (),
        workers: int = 1,
        fits: Callable[[Setup], bool] = lambda setup: True,
    ) -> PlannedPack | None:
        """The next pack for a worker that is idle; None where there is none, or where it doesn't fit.

        Args:
            warm: the warmth of what it has loaded, None where it has nothing.
            busy: the workers that have a pack.
            workers: that there are.
            fits: whether there is room for a pack.
        """
        if not self._lines:
            return None
        amount = share(sum(line.work for line in self._lines.values()), (one.left for one in busy), workers)
        warmth = self._choose(warm, busy, amount, fits)
        line = self._lines[warmth]
        if not fits(line.setup):
            if any(fits(other.setup) for other in self._lines.values()):
                self._kept_free = warmth  # small packs would keep a large one waiting until none is left
            return None
        self._kept_free = None
        planned = line.take(amount, workers)
        if not line:
            del self._lines[warmth]
        return planned

    def refused(self, planned: PlannedPack) -> None:
        """A pack that a worker didn't begin: it is the next one of its line again."""
        line = self._lines[planned.warmth]
        line.put(planned, line.front)

    def put_back(self, planned: PlannedPack) -> None:
        """A pack that runs as it is behind what is left of its line, in parts where a smaller size has been learnt."""
        line = self._lines[planned.warmth]
        size = self._sizes.get((planned.warmth, _unsized(planned.setup)), len(planned.members))
        for at in range(0, len(planned.members), size):
            line.put(replace(planned, members=planned.members[at : at + size]), line.back)

    def learnt(self, warmth: str, setup: Setup, size: int) -> None:
        """Packs of this warmth and set-up are best of this size, as a worker found out."""
        assert size >= 1, size
        self._sizes[warmth, _unsized(setup)] = size
        if warmth in self._lines:
            self._lines[warmth].resize(setup, size)

    def _choose(self, warm: str | None, busy: Collection[Busy], amount: float, fits: Callable[[Setup], bool]) -> str:
        """The line that a worker takes its next pack from."""
        lines = self._lines
        if self._kept_free in lines:
            return self._kept_free
        urgent = max(lines, key=lambda warmth: lines[warmth].longest)
        if lines[urgent].longest >= amount and (warm not in lines or lines[warm].longest < amount):
            return urgent
        if warm in lines:
            return warm
        on: dict[str, int] = defaultdict(int)
        for one in busy:
            on[one.warmth] += 1
        return max(lines, key=lambda warmth: (not on[warmth], lines[warmth].work / (on[warmth] + 1)))


def _unsized(setup: Setup) -> Setup:
    """What set-ups agree in that differ in their pack size."""
    return replace(setup, pack_size=0)


def _places(sources: Sources) -> Hashable:
    return sources.weights, sources.data, tuple(sorted(sources.targets.items()))
