"""What is still to be handed out, by the type of node that it is for: each has a :class:`Stock` and workers of its own.

So no pack of one type waits behind those of another. The largest machines are asked for first. A type that can't be had
is left: what is for it goes where it is cheapest among the others. Without types there is one stock, of all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from orchestrator.planning.capacity import at_once
from orchestrator.planning.devices import Machine
from orchestrator.planning.packing import Busy, Stock
from orchestrator.planning.todo import PlannedPack, Todo
from trials.setup import Setup
from trials.trial import Trial

Elsewhere = Callable[[Trial, Set[str]], Setup | None]


class Stocks:
    """See :class:`orchestrator.planning.packing.Stock`, whose questions it answers.

    Args:
        todo, setup: see there.
        types: of the nodes that there may be, in the order in which they are asked for.
        elsewhere: how a trial runs on other types than those given; None where it doesn't.
    """

    def __init__(
        self,
        todo: Iterable[Todo],
        setup: Setup | Callable[[Trial], Setup] | None = None,
        types: Sequence[str] = ("",),
        elsewhere: Elsewhere = lambda trial, without: None,
    ) -> None:
        self._elsewhere = elsewhere
        self._left: set[str] = set()
        self._room: tuple[Sequence[Machine], int] = (), 1
        self.workers: dict[str, int] = {}  # packs that run at a time, about, by type
        some: dict[str, list[Todo]] = defaultdict(list)
        how = self._how = (lambda trial: setup or Setup()) if not callable(setup) else setup
        for one in todo:
            some[how(one.trial).node_type].append(one)
        names = sorted(some, key=lambda name: types.index(name) if name in types else len(types))
        self._stocks = {name: Stock(some[name], how) for name in names}

    def __bool__(self) -> bool:
        return any(self._stocks.values())

    def add(self, todo: Iterable[Todo]) -> None:
        """Attempts that nobody has made yet, each to where it runs now."""
        self._add((one, self._how(one.trial)) for one in todo)

    def empty(self) -> None:
        """Take all of it out; the workers that it was shared out among stay known."""
        for stock in self._stocks.values():
            stock.drain()

    def setups(self) -> Iterator[tuple[str, Setup]]:
        """See :class:`Stock`."""
        for stock in self._stocks.values():
            yield from stock.setups()

    def setup_of(self, one: Todo) -> Setup:
        """How an attempt runs now."""
        return self._moved(one, self._how(one.trial))

    @property
    def types(self) -> set[str]:
        """Of the nodes that something is for; empty where all may go anywhere."""
        return self._stocks.keys() - {""}

    def share_out(self, machines: Sequence[Machine], most: int) -> int:
        """Find out how many packs run at a time, of every type and, which comes back, together; before any runs.

        Args:
            machines: that there are or may be.
            most: of each type at most, and together.
        """
        self._room = machines, most
        for name, stock in self._stocks.items():
            setups = [setup for _, setup in stock.setups()]
            found = min(len(setups), max((at_once(setup, machines) for setup in set(setups)), default=1))
            self.workers[name] = max(1, min(found, most))
        return max(1, min(sum(self.workers.values()), most))

    def take(
        self,
        warm: Mapping[str, str],
        busy: Sequence[Busy] = (),
        workers: int = 1,
        fits: Callable[[Setup], bool] = lambda setup: True,
    ) -> PlannedPack | None:
        """The next pack; see :class:`Stock`.

        Args:
            warm: of the workers that would get it, by type.
            workers: of all types, where :meth:`share_out` wasn't asked.
        """
        for name, stock in self._stocks.items():
            its = [one for one in busy if one.node_type == name]
            if planned := stock.take(warm.get(name), its, self.workers.get(name, workers), fits):
                return planned
        return None

    def refused(self, planned: PlannedPack) -> None:
        """See :class:`Stock`."""
        for part in self._placed(planned):
            self._of(part.setup).refused(part)

    def put_back(self, planned: PlannedPack) -> None:
        """See :class:`Stock`."""
        for part in self._placed(planned):
            self._of(part.setup).put_back(part)

    def learnt(self, warmth: str, setup: Setup, size: int) -> None:
        """See :class:`Stock`; workers on other cards learn for themselves."""
        self._of(setup).learnt(warmth, setup, size)

    def leave(self, name: str) -> int:
        """Give up waiting for a type, as far as there is another: how many trials go there."""
        self._left.add(name)
        todos, packs = self._of(Setup(node_type=name)).drain()
        moved = sum(setup.node_type != name for setup in self._add(todos))
        for planned in packs:
            self.put_back(planned)
            moved += sum(self._moved(one, planned.setup).node_type != name for one in planned.members)
        self.share_out(*self._room)
        return moved

    def _add(self, todo: Iterable[tuple[Todo, Setup]]) -> list[Setup]:
        """Attempts and how they would run; how each of them does."""
        by_setup: dict[Setup, list[Todo]] = defaultdict(list)
        for one, setup in todo:
            by_setup[self._moved(one, setup)].append(one)
        for setup, some in by_setup.items():
            self._of(setup).add(some, setup)
        return [setup for setup, some in by_setup.items() for _ in some]

    def _of(self, setup: Setup) -> Stock:
        return self._stocks.setdefault(setup.node_type, Stock(()))

    def _moved(self, one: Todo, setup: Setup) -> Setup:
        """How an attempt runs now: elsewhere, if its type was left and another holds it."""
        there = self._elsewhere(one.trial, self._left) if setup.node_type in self._left else None
        return there or setup

    def _placed(self, planned: PlannedPack) -> Iterator[PlannedPack]:
        """A pack where it runs now, which may be one of smaller ones."""
        by_setup: dict[Setup, list[Todo]] = defaultdict(list)
        for one in planned.members:
            by_setup[self._moved(one, planned.setup)].append(one)
        if list(by_setup) == [planned.setup]:
            yield planned
            return
        for setup, some in by_setup.items():
            for at in range(0, len(some), setup.pack_size):
                yield PlannedPack(tuple(some[at : at + setup.pack_size]), setup)
