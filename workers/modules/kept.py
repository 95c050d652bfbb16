"""What frozen blocks have made of rows that are scored again and again, kept while memory allows.

It depends on the backbone, the rows of a pass and the place alone, so that what is kept changes no bit of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from workers.modules.sharing import Place, States

SHARE = 4  # at most one in so many bytes of what would be free without it,
MOST = 2 * 2**30  # and at most so many: on a CPU nobody says in time that memory runs out


class Kept:
    """States by the rows that they are of, at the place where they were taken last.

    Args:
        free: bytes that are free now.
    """

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._of: tuple[object, ...] = ()
        self._states: dict[Hashable, tuple[Place, States]] = {}
        self._bytes = 0
        self._short = False  # memory ran out while some of these were kept

    def of(self, *owners: object) -> Kept:
        """For a pack on these (its backbone, its rows): what is kept of others goes."""
        if len(owners) != len(self._of) or any(a is not b for a, b in zip(owners, self._of, strict=True)):
            self.clear()
            self._of, self._short = owners, False
        return self

    def get(self, rows: Hashable, place: Place) -> States:
        """What is kept of these rows at this place; empty where nothing is."""
        at, states = self._states.get(rows, (place, {}))
        return states if at == place else {}

    def put(self, rows: Hashable, place: Place, states: States) -> None:
        """Keep it in place of what was kept of these rows, unless memory is short."""
        if rows in self._states:
            if self._states[rows][1] is states:
                return
            self._bytes -= _size(self._states.pop(rows)[1])
        total = self._bytes + _size(states)
        if not self._short and total <= MOST and total * SHARE <= self._free() + self._bytes:
            self._states[rows] = place, states
            self._bytes = total

    def clear(self) -> bool:
        """Let all of it go; whether there was any."""
        found = bool(self._states)
        self._states.clear()
        self._bytes = 0
        return found

    def let_go(self) -> bool:
        """Let all of it go, for memory ran out; whether there was any: then nothing more is kept of these rows.

        Else whoever tries again would fill memory again, and run out again, without end.
        """
        found = self.clear()
        self._short |= found
        return found


def _size(states: States) -> int:
    return sum(x.untyped_storage().nbytes() for x in states.values())
