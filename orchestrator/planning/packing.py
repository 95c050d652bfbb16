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

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass

from orchestrator.planning.line import Line, Shelf, sized, unsized
from orchestrator.planning.todo import PlannedPack, Todo, cost, depth
from trials.pack import Sources
from trials.setup import Setup
from trials.trial import Trial

__all__ = ["Busy", "PlannedPack", "Stock", "Todo", "cost", "packs", "share"]


@dataclass(frozen=True)
class Busy:
    """A worker that trains a pack.

    Args:
        warmth: of the pack.
        left: of its cost, what is still to be done.
        node_type: that the pack is for.
    """

    warmth: str
    left: float
    node_type: str = ""


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


class Stock:
    """What is still to be handed out.

    Args:
        todo: attempts, in the order of their sweep.
        setup: how they run, all of them or each; those of a pack have one set-up, share what ``Trial.pack_key`` says
            and are at most ``setup.pack_size``. None: each alone, wherever it comes to run.
    """

    def __init__(self, todo: Iterable[Todo], setup: Setup | Callable[[Trial], Setup] | None = None) -> None:
        self._lines: dict[str, Line] = defaultdict(Line)
        self._sizes: dict[tuple[str, Setup], int] = {}  # learnt, by warmth and set-up
        self._kept_free: str | None = None  # the line for whose next pack there is too little room
        self.add(todo, setup or Setup())

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, todo: Iterable[Todo], setup: Setup | Callable[[Trial], Setup]) -> None:
        """Attempts that nobody has made yet; see the class for how they run."""
        alike: dict[tuple[Hashable, Setup], list[Todo]] = defaultdict(list)
        for one in todo:
            shared = one.trial.pack_key, one.trial.method.tokens, _places(one.sources), one.sweep
            alike[shared, setup if isinstance(setup, Setup) else setup(one.trial)].append(one)
        for (_, its), some in alike.items():
            some.sort(key=depth)  # stable
            size = self._sizes.get((some[0].warmth, unsized(its)))
            shelf = Shelf(some[::-1], its if size is None else sized(its, size), cost(some[0].trial))
            self._lines[some[0].warmth].add(shelf)

    def drain(self) -> tuple[list[tuple[Todo, Setup]], list[PlannedPack]]:
        """Take all of it out: attempts and how they would have run, in about their order, and packs that came back."""
        todos, packs = list[tuple[Todo, Setup]](), list[PlannedPack]()
        for line in self._lines.values():
            shelves, came_back = line.drain()
            todos += [(one, shelf.setup) for shelf in shelves for one in reversed(shelf.todo)]
            packs += came_back
        self._lines.clear()
        return todos, packs

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
        for part in self._parts(planned):
            line.put(part, line.front)

    def put_back(self, planned: PlannedPack) -> None:
        """A pack that runs as it is behind what is left of its line."""
        line = self._lines[planned.warmth]
        for part in self._parts(planned):
            line.put(part, line.back)

    def learnt(self, warmth: str, setup: Setup, size: int) -> None:
        """Packs of this warmth and set-up are best of this size, as a worker found out; nobody measures it again.

        At most it is the largest that the set-up has memory for. What a worker says last holds.
        """
        assert size >= 1, size
        size = min(size, max(setup.pack_size, setup.measure_to))
        if self._sizes.get((warmth, unsized(setup))) == size:
            return  # a pack that was halved says it at every evaluation
        self._sizes[warmth, unsized(setup)] = size
        if warmth in self._lines:
            self._lines[warmth].resize(setup, size)

    def _parts(self, planned: PlannedPack) -> Iterator[PlannedPack]:
        """A pack that came back, as the size says that was learnt since it was made."""
        size = self._sizes.get((planned.warmth, unsized(planned.setup)))
        if size is None:
            yield planned
            return
        for at in range(0, len(planned.members), size):
            yield PlannedPack(planned.members[at : at + size], sized(planned.setup, size))

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


def _places(sources: Sources) -> Hashable:
    return sources.weights, sources.data, tuple(sorted(sources.targets.items()))
