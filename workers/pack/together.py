"""Work that every rank does for itself, and that fails on all of them where it fails on one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from trials.errors import ApetError
from trials.failures import InfrastructureError
from workers.gang.gang import Gang
from workers.pack.memory import OutOfMemoryError, memory_named

S = TypeVar("S")
T = TypeVar("T")


def together(gang: Gang, work: Callable[[], T]) -> T:
    """What this rank's work gives, once it is done on every rank; called by all of them.

    Args:
        gang: the ranks.
        work: calls nothing of the gang's, for another rank may have failed before.

    Raises:
        ApetError, OutOfMemoryError: raised by the work on some rank; of several the first rank's, which the others
            name.
    """
    mine: ApetError | OutOfMemoryError | None = None
    try:
        with memory_named():
            found = work()
    except (ApetError, OutOfMemoryError) as error:
        mine = error
    told = gang.gather(None if mine is None else (isinstance(mine, OutOfMemoryError), str(mine)))
    for rank, said in enumerate(told):
        if said is not None:
            short, text = said
            if rank != gang.rank or mine is None:
                mine = (OutOfMemoryError if short else ApetError)(f"rank {rank}: {text}")
            if isinstance(mine, OutOfMemoryError):
                mine.of_all = True
            raise mine
    return found


def each(gang: Gang, some: Sequence[S], work: Callable[[S], T]) -> list[T | Exception]:
    """What the work on each of them gives, or how it failed: here, or on another rank.

    Raises:
        OutOfMemoryError: memory ran out on some rank.
        InfrastructureError: it can't be done here, through no fault of what is worked on.
    """
    found = together(gang, lambda: [_tried(work, x) for x in some])
    told = gang.gather([f"{type(x).__name__}: {x}" if isinstance(x, Exception) else "" for x in found])
    for rank, texts in enumerate(told):
        for at, text in enumerate(texts):
            if text and not isinstance(found[at], Exception):
                found[at] = ApetError(f"rank {rank}: {text}")
    return found


def _tried(work: Callable[[S], T], x: S) -> T | Exception:
    try:
        return work(x)
    except (MemoryError, InfrastructureError):  # the machine's or the store's, not this one's
        raise
    except Exception as error:
        return error
