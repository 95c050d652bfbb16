"""Of all that ranks say when a gang breaks, what explains the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trials.errors import ApetError
from trials.failures import InfrastructureError
from workers.gang.messages import COLLECTIVE, DIED, INPUT, MEMORY, RAISED, Trouble

BEST = (MEMORY, DIED, INPUT, RAISED, COLLECTIVE)  # who waits for another rank only tells that there is trouble


class GangError(InfrastructureError):
    """A rank can't go on, and so its gang is gone. Plain values, for it travels.

    Args:
        rank: which one, of ``ranks``.
        where: it was, in words.
        error_class: the exception's name on that rank; RankDied, RankHangs.
        reason: one line.
        log: its traceback, and the end of what it wrote to its standard error.
    """

    def __init__(self, rank: int, ranks: int, where: str, error_class: str, reason: str, log: str = "") -> None:
        super().__init__(rank, ranks, where, error_class, reason, log)
        self.rank, self.ranks, self.where = rank, ranks, where
        self.error_class, self.reason, self.log = error_class, reason, log

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.ranks}, at {self.where}: {self.reason}"


class Anew(Exception):
    """The pack goes on with another gang.

    Args:
        limits: of :class:`workers.gang.short.ShortOfMemory`.
        error: what to raise where that is no way.
    """

    def __init__(self, limits: dict[str, Any] | None, error: GangError) -> None:
        super().__init__(str(error))
        self.limits, self.error = limits, error


def verdict(
    troubles: Mapping[int, Trouble], silent: Sequence[int], places: Sequence[str], words: Callable[[int], str]
) -> Exception:
    """What to raise.

    Args:
        troubles: by rank, in the order in which they came.
        silent: ranks that have said nothing, though something is waited for.
        places: where each rank said last that it is.
        words: the end of what a rank wrote to its standard error.

    Returns:
        an ApetError, a GangError or Anew.
    """
    rank = min(troubles, key=lambda one: BEST.index(troubles[one].kind))  # of one kind the first to say so
    said = troubles[rank]
    if said.kind == COLLECTIVE and silent:
        return hangs(silent, places, words, f"the others waited for it in vain ({said.reason})")
    if said.kind == INPUT:  # all have the same to say, unless it is of this rank's machine
        alike = [one for one, other in troubles.items() if other.kind == INPUT]
        return ApetError(said.reason if 0 in alike else f"rank {rank}: {said.reason}")
    log = "\n".join(part for part in (said.log.strip(), words(rank).strip()) if part)
    error = GangError(rank, len(places), places[rank], said.error_class, said.reason, log)
    return Anew(said.limits, error) if said.kind == MEMORY else error


def hangs(silent: Sequence[int], places: Sequence[str], words: Callable[[int], str], why: str) -> GangError:
    """The error of ranks that say nothing, though something is waited for."""
    first, *others = silent
    too = "".join(f"; so does rank {rank}, at {places[rank]}" for rank in others)
    return GangError(first, len(places), places[first], "RankHangs", f"it hangs: {why}{too}", words(first))
