"""As much a pass as memory holds: a pack goes through in portions where it doesn't fit at once, with the same numbers.

First fewer slices a pass, which changes no bit: their gradients never mix. Only then fewer rows, whose gradients add up
to those of the whole batch but for rounding. Where even one row of one slice doesn't fit, or what runs out is held by
all trials together, fewer trials train at a time (``workers.pack.run``). All ranks of a gang have the same portions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from sys import maxsize
from typing import Any, TypeVar

from workers.gang.gang import ALONE, Gang
from workers.pack.memory import OutOfMemoryError, give_back, memory_named

S = TypeVar("S")
T = TypeVar("T")
FINE, FREED, SHORT, FAILED = range(4)  # how a try went; of several ranks' the worst counts
_log = logging.getLogger(__name__)


@dataclass
class Portions:
    """How many slices, and rows of each, go through the backbone at once at most.

    Args:
        rows: to begin with; halved, once there is one slice a pass, whenever memory runs out.
        slices: halved before; what is halved stays so for all that follows.
    """

    rows: int
    slices: int = maxsize

    def fit(
        self,
        slices: Sequence[S],
        work: Callable[[Sequence[S], int], Iterable[T]],
        undo: Callable[[], None] = lambda: None,
        let_go: Callable[[], bool] = lambda: False,
        gang: Gang = ALONE,
        sharded: bool = False,
    ) -> list[T]:
        """One result a slice, in their order; again from the first on in smaller portions where they don't fit.

        Args:
            slices: to go through.
            work: takes the slices of a pass and the most rows of it.
            undo: clears what a failed try left.
            let_go: frees what is held for speed alone; whether there was any, for then nothing need be smaller.
            gang: where memory ran out on one rank, all of them try again.
            sharded: whether ranks need each other within the work: then nobody can be asked once memory has run out.

        Raises:
            OutOfMemoryError: what doesn't fit is a single row of a single slice, on all ranks; or on this one alone,
                with shards, and where there is more than that the portions are smaller now.
        """
        while True:
            at_once, went = min(self.slices, len(slices)), FINE
            try:
                with memory_named():
                    found = [x for part in chunks(slices, at_once) for x in work(part, self.rows)]
            except OutOfMemoryError as error:
                went = FREED if let_go() else FAILED if at_once == self.rows == 1 else SHORT
                if sharded:
                    if went == SHORT:
                        self._halve(at_once)
                        error.halved = True
                    raise
                if went == FAILED:
                    gang.most(FAILED)
                    gang.gather(f"rank {gang.rank}: {error}")
                    error.of_all = True
                    raise
            # outside the handler: the traceback, which holds the failed pass's tensors, is gone by now
            worst = FINE if sharded else gang.most(went)
            if worst == FINE:
                return found
            if worst == FAILED:
                raise _of_all(next(filter(None, gang.gather(""))))
            if worst == SHORT:
                self._halve(at_once)
            undo()
            give_back()

    def _halve(self, slices: int) -> None:
        """Fewer slices a pass than these; of a single one fewer rows."""
        if slices > 1:
            self.slices = slices = half(slices)
        else:
            self.rows //= 2
        _log.warning("out of memory: at most %d trials and %d rows of each a pass from here on", slices, self.rows)


def _of_all(text: str) -> OutOfMemoryError:
    """What ran out on another rank, and is known to all."""
    error = OutOfMemoryError(text)
    error.of_all = True
    return error


@dataclass
class Limits:
    """What memory was found to hold of packs of one kind; a warm worker keeps it, and the next pack begins there.

    Args:
        training, scoring: one pass of a rank; to score takes less than to train.
        trials: that train together, at most.
    """

    training: Portions
    scoring: Portions
    trials: int = maxsize

    @staticmethod
    def of(rows: int) -> Limits:
        """Before memory has run out: passes of so many rows."""
        return Limits(Portions(rows), Portions(rows))

    def plain(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @staticmethod
    def of_plain(values: Mapping[str, Any]) -> Limits:
        """The inverse of :meth:`plain`."""
        return Limits(Portions(**values["training"]), Portions(**values["scoring"]), values["trials"])

    @property
    def rows(self) -> int:
        """Of any pass."""
        return min(self.training.rows, self.scoring.rows)

    @property
    def slices(self) -> int:
        """Of any pass: more trials in a pack pay no longer."""
        return min(self.training.slices, self.scoring.slices, self.trials)


def chunks(some: Sequence[S], most: int) -> list[Sequence[S]]:
    """In their order, so many at a time."""
    return [some[at : at + most] for at in range(0, len(some), most)]


def half(n: int) -> int:
    """The larger half."""
    return (n + 1) // 2
