"""The ranks that run a pack together, as one of them sees it.

Every rank runs the same code on the same pack. What only one of them can know (a request to stop, memory that ran out,
a file that isn't there, the answers on its own rows) goes through here before anybody acts on it, so that all of them
decide alike. A process alone is a gang of one: nothing here costs it anything, and no code asks how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class Gang:
    """A gang of one; ``workers.gang.processes`` has the one of several.

    Every method but :meth:`at` is called by all ranks, in the same order.

    Attributes:
        rank: which one this is, from 0; the first one alone writes to the store.
        ranks: how many they are.
    """

    rank = 0
    ranks = 1

    @property
    def first(self) -> bool:
        """Whether this rank writes, and speaks for all."""
        return self.rank == 0

    def at(self, where: str) -> None:
        """Say where this rank is, in words, for an error that names who is behind."""

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over ranks into each tensor; the same bits on every rank."""

    def most(self, number: int) -> int:
        """The largest over ranks."""
        return number

    def any(self, yes: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.most(int(yes)))

    def of_first(self, value: T) -> T:
        """What the first rank has; what the others give counts for nothing."""
        return value

    def gather(self, value: T) -> list[T]:
        """What every rank has, in their order."""
        return [value]


ALONE = Gang()
